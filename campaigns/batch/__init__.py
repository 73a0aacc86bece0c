"""Prove that a batch charges nothing twice and loses nothing, whatever is killed and whatever the network does.

``python -m campaigns.batch --kills N --restarts N --purchases N --seed S [--closed] [--control random-key]``

``python -m campaigns.batch.many``: 100,000 operations in one batch; prints the memory that they use.
"""
