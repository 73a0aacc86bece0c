"""Prove that ``bardge doctor`` finds every planted difference, and nothing else.

``python -m campaigns.drift --seeds 200`` starts a sandbox with ``drift=SEED`` for each seed, examines it with a client
id, and compares what was planted with what was found. Without drift nothing may be found.
"""
