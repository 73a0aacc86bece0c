"""Prove that nothing is charged twice: a fault server with real sockets and an exact ledger.

``python -m campaigns.window --faults N --seed S [--control random-key|no-window|wall-clock|no-probe]``
"""
