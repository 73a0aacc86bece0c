"""Prove that a fleet of workers charges nothing twice and loses nothing, whatever is killed or cut off.

``python -m campaigns.fleet [PLAY ...] --times N --purchases N --cut SECONDS --seed S``
"""
