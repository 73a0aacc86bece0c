"""Prove that nothing is charged twice or lost when a process is killed at any instruction.

``python -m campaigns.crash --kills N --seed S [--closed] [--control random-key]``
"""
