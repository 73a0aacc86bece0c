"""Fixtures that many tests share."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

import aiohttp
import pytest

from tests.support.postgres import postgres

__all__ = ["both_ways", "postgres"]


def pytest_configure(config: pytest.Config) -> None:
    """Run all loops of this process on the event loop that BARDGE_TEST_LOOP names: ``asyncio`` or ``uvloop``."""
    name = os.environ.get("BARDGE_TEST_LOOP", "asyncio")
    if name not in {"asyncio", "uvloop"}:
        raise pytest.UsageError(f"BARDGE_TEST_LOOP is asyncio or uvloop, not {name}")
    if name == "uvloop":
        # A policy, not pytest-asyncio's hook: tests call asyncio.run in threads, too.
        make_loop = {"_loop_factory": importlib.import_module("uvloop").Loop}
        asyncio.set_event_loop_policy(type("UvloopPolicy", (asyncio.DefaultEventLoopPolicy,), make_loop)())  # pyright: ignore[reportDeprecated] - until Python 3.14 is supported


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
