"""Prove that the tests notice small changes to the code that decides about money.

``python -m campaigns.mutants --changes N --seed S [--seconds LIMIT] [--jobs COPIES] [--records FOLDER]``

First all tests run once, which records the lines that each of them executes (``--records`` keeps that for another run
over the same tree). Then each change is made in a copy of the tree, where the tests that execute it run, the quickest
first, until one fails twice or takes too long. What no test notices is listed with file, line and change: it is
equivalent, or a test is missing. The progress, with the test that caught each change, goes to standard error.

What only a killed process executes is in no record, so a change there may be listed although a test would notice it.
"""
