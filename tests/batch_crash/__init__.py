"""Prove that a batch charges nothing twice and loses nothing, whatever is killed and whatever the line does.

``python -m tests.batch_crash --kills N --restarts N --purchases N --seed S [--closed] [--control random-key]``

``python -m tests.batch_crash.many``: 100,000 operations in one batch, with the memory that they take.
"""
