"""Fixtures that many tests share."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.support.postgres import postgres

__all__ = ["both_ways", "postgres"]


@pytest.fixture(params=["lean", "session"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test over aiohttp's connector alone, then over its session, as when a test library replaces it."""
    if request.param == "session":
        genuine: Any = aiohttp.ClientSession._request

        async def request_by_session(*args: Any, **options: Any) -> Any:
            return await genuine(*args, **options)

        monkeypatch.setattr(aiohttp.ClientSession, "_request", request_by_session)
    way: str = request.param
    return way
