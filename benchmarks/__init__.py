"""Benchmarks: our client and its peers, in pairs and in fresh processes; run them with ``python -m benchmarks``."""
