"""What a drifted sandbox plants is what the doctor finds: a few seeds here, 200 in ``campaigns/drift``."""

from __future__ import annotations

import pytest

from campaigns.drift.__main__ import compare_seed


@pytest.mark.parametrize("seed", [None, *range(6)])
async def test_planted_is_found(seed: int | None) -> None:
    """Each planted difference is found, and nothing else."""
    planted, found = await compare_seed(seed)
    assert found == planted
    assert bool(planted) is (seed is not None)
