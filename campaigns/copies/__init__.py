"""Prove that copying a journal's files while processes use it and are killed loses nothing in the original.

``python -m campaigns.copies --kills N --seed S``
"""
