"""Tools of other people against the contract: ``python -m campaigns.strangers``, apart from the pytest run.

They come from their package registries into a temporary folder; what they found is told in ``docs/strangers.md``.
"""
