"""Prove that nothing is charged twice: a fault server on real sockets with an exact ledger, and a client that must agree.

``python -m campaigns.window --faults N --seed S [--control random-key|no-window]``
"""
