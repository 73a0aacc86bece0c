"""Prove that the tests notice small changes to the code that decides about money.

``python -m campaigns.mutants --changes N --seed S [--seconds LIMIT]``

Each change is made in a copy of the tree, where the tests that concern the changed module run. What no test notices is
listed with file, line and change: it is equivalent, or a test is missing.
"""
