"""Prove that nothing is charged twice: a real-socket fault server with an exact ledger, and a client that must agree.

``python -m campaigns.window --faults N --seed S [--control random-key|no-window]``
"""
