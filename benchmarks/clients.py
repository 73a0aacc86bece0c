"""The clients: each the way its own documentation would have it, all with the same objects.

A further client is a class with these four methods and a line in :data:`CLIENTS`. Its library is imported when it is
made, so that no client's process holds another one's.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from benchmarks.stub import API_KEY, CLIENT, PAGE_SIZE

if TYPE_CHECKING:
    import aiohttp


class Client(Protocol):
    """What workloads ask of a client."""

    async def walk(self) -> tuple[int, str]:
        """Walk the whole list of bookings, touch every item, and return their number and the last one's id."""
        ...

    async def get(self, client_id: str) -> str:
        """Get an issued pass and return its client's id."""
        ...

    async def buy(self, client_id: str) -> str:
        """Buy credits under a fresh idempotency key and return the client's id in the answer."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""


class Ours:
    """bardge_async as the README has it: typed values, retries, keys, limits all on."""

    def __init__(self, base_url: str) -> None:
        from bardge_async import BardgeClient, PurchaseCredits  # noqa: PLC0415 - in this client's process only

        self._client = BardgeClient(API_KEY, base_url)
        self._request = PurchaseCredits

    async def walk(self) -> tuple[int, str]:
        """Walk by the async iterator."""
        count, last = 0, None
        async for booking in self._client.bookings.list_for_client(CLIENT, page_size=PAGE_SIZE):
            count += 1
            last = booking.id
        return count, str(last)

    async def get(self, client_id: str) -> str:
        """Get by the resource method."""
        return str((await self._client.passes.get_issued(client_id)).client_id)

    async def buy(self, client_id: str) -> str:
        """Buy by the resource method, which makes a key."""
        request = self._request(client_id=client_id, package_id="cpkg_50")
        return str((await self._client.credits.purchase(request)).client_id)

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


class RawAiohttp:
    """aiohttp as its documentation has it, with dicts for results: no retries, no types, no checks."""

    def __init__(self, base_url: str, loads: Callable[[bytes], Any], dumps: Callable[[object], bytes]) -> None:
        self._base_url = base_url
        self._loads = loads
        self._dumps = dumps
        self._made: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._made is None:
            import aiohttp  # noqa: PLC0415 - in this client's process only

            self._made = aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"})
        return self._made

    async def walk(self) -> tuple[int, str]:
        """Walk by a plain loop over pages and items."""
        count, last, after = 0, None, ""
        while True:
            page = await self._read(f"/clients/{CLIENT}/bookings?limit={PAGE_SIZE}{after}")
            for booking in page["data"]:
                count += 1
                last = booking["id"]
            if not page["has_more"]:
                return count, str(last)
            after = f"&starting_after={last}"

    async def get(self, client_id: str) -> str:
        """Get a dict."""
        found = await self._read(f"/issued_passes/{client_id}")
        return str(found["client_id"])

    async def _read(self, path: str) -> Any:  # noqa: ANN401 - JSON
        async with self._session.get(self._base_url + path) as response:
            response.raise_for_status()
            return self._loads(await response.read())

    async def buy(self, client_id: str) -> str:
        """Post a dict under a UUID."""
        body = self._dumps({"client_id": client_id, "package_id": "cpkg_50"})
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        url = f"{self._base_url}/credit_purchases"
        async with self._session.post(url, data=body, headers=headers) as response:
            response.raise_for_status()
            return str(self._loads(await response.read())["client_id"])

    async def aclose(self) -> None:
        """Close the session."""
        await self._session.close()


def _with_orjson(base_url: str) -> Client:
    import orjson  # noqa: PLC0415 - in this client's process only

    return RawAiohttp(base_url, orjson.loads, orjson.dumps)


def _with_json(base_url: str) -> Client:
    return RawAiohttp(base_url, json.loads, lambda value: json.dumps(value).encode())


BASE: Final = "aiohttp+orjson"
CLIENTS: Final[Mapping[str, Callable[[str], Client]]] = {
    "bardge-async": Ours,
    BASE: _with_orjson,
    "aiohttp+json": _with_json,
}
