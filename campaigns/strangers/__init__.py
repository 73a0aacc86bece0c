"""Check the contract with third-party tools: ``python -m campaigns.strangers``, separate from the pytest run.

The tools are installed from their package registries into a temporary folder; ``docs/strangers.md`` lists what they
found.
"""
