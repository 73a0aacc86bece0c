"""aiohttp and cattrs are imported with the first client, and nothing more during calls."""

from __future__ import annotations

from typing import Final

from tests.support.program import run_program

LAZY: Final = """
import sys
import bardge_async
print(*sorted({"aiohttp", "anyio", "cattrs", "orjson"} & set(sys.modules)))
"""

CALLS: Final = """
import asyncio, sys
from bardge_async import BardgeClient, PurchaseCredits
from tests.support.server import ScriptedServer, error, reply

PAGE = {"object": "list", "has_more": False, "data": [{"id": "b1", "created": 1746700000123, "date": "2026-05-20"}]}

async def main():
    script = (reply(200, {"balance": 5}), reply(200, {"amount": 1.5}), reply(200, PAGE), error(404), reply(503))
    async with ScriptedServer(*script) as server, BardgeClient("key", server.base_url, timeout=1.0) as bardge:
        before = set(sys.modules)
        await bardge.clients.get_credits("c")
        await bardge.credits.purchase(PurchaseCredits(client_id="c", package_id="p"))
        async for _ in bardge.bookings.list_for_client("c"):
            pass
        for _ in range(2):
            try:
                await bardge.clients.get_credits("c")
            except Exception:
                pass
        print(*sorted(set(sys.modules) - before))

asyncio.run(main())
"""


def test_the_package_alone_is_light() -> None:
    """``import bardge_async`` imports neither the HTTP client nor the converter."""
    assert "aiohttp" not in run_program(LAZY).split()
    assert "cattrs" not in run_program(LAZY).split()


def test_nothing_is_imported_during_calls() -> None:
    """Calls, walks, errors and retries import nothing: no call pays for a module, and none can be missing then."""
    assert not run_program(CALLS)
