"""Every test of this folder that takes ``opener`` or ``journal`` runs once for each store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from bardge_async import Journal
from tests.journal.factories import FACTORIES, Opener, open_on_postgres
from tests.support.postgres import Database


@pytest.fixture(params=[*FACTORIES, "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """A fresh store."""
    if request.param == "postgres":
        database: Database = request.getfixturevalue("postgres")
        return open_on_postgres(database.clear())
    return FACTORIES[str(request.param)](tmp_path)


@pytest_asyncio.fixture(loop_scope="function")
async def journal(opener: Opener) -> AsyncGenerator[Journal]:
    """An open journal over a fresh store."""
    async with opener() as opened:
        yield opened
