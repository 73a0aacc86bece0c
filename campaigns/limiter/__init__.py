"""Measure how well processes share one rate: ``python -m campaigns.limiter``."""
