"""Integrations with third-party frameworks, each behind its own extra."""
