"""Benchmarks: ours beside the peers, paired and in fresh processes; ``python -m benchmarks`` runs them."""
