"""The clients: each used as its own documentation recommends, all on the same data.

To add a client, write a class with these four methods and add a line to :data:`CLIENTS`. Import its library in
``__init__``, so that each client's process loads only its own library.
"""

from __future__ import annotations

import importlib.util
import json
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from benchmarks.stub import API_KEY, CLIENT, PAGE_SIZE

if TYPE_CHECKING:
    import aiohttp


ITEMS: Final = 100_000
SLOW_ITEMS: Final = 10_000
_LATE_START: Final = f"&starting_after=booking_{ITEMS - SLOW_ITEMS - 1:016x}"
"""Where the slower peers start their walk, so that a run finishes; rates are per item."""


class Client(Protocol):
    """What workloads need from a client."""

    async def walk(self) -> tuple[int, str]:
        """Walk the whole list of bookings, access every item, and return the number of items and the last id."""
        ...

    async def get(self, client_id: str) -> str:
        """Get an issued pass and return its client's id."""
        ...

    async def buy(self, client_id: str) -> str:
        """Buy credits under a fresh idempotency key and return the client's id from the response."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""


class Ours:
    """bardge_async as in the README: typed values, retries, keys and limits all on."""

    def __init__(self, base_url: str) -> None:
        from bardge_async import BardgeClient, PurchaseCredits  # noqa: PLC0415 - in this client's process only

        self._client = BardgeClient(API_KEY, base_url)
        self._request = PurchaseCredits

    async def walk(self) -> tuple[int, str]:
        """Walk with the async iterator."""
        count, last = 0, None
        async for booking in self._client.bookings.list_for_client(CLIENT, page_size=PAGE_SIZE):
            count += 1
            last = booking.id
        return count, str(last)

    async def get(self, client_id: str) -> str:
        """Get with the resource method."""
        return str((await self._client.passes.get_issued(client_id)).client_id)

    async def buy(self, client_id: str) -> str:
        """Buy with the resource method, which generates a key."""
        request = self._request(client_id=client_id, package_id="cpkg_50")
        return str((await self._client.credits.purchase(request)).client_id)

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


class RawAiohttp:
    """aiohttp as in its documentation, with dicts as results: no retries, no types, no checks."""

    def __init__(self, base_url: str, loads: Callable[[bytes], Any], dumps: Callable[[object], bytes]) -> None:
        self._base_url = base_url
        self._loads = loads
        self._dumps = dumps
        self._open_session: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._open_session is None:
            import aiohttp  # noqa: PLC0415 - in this client's process only

            self._open_session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"})
        return self._open_session

    async def walk(self) -> tuple[int, str]:
        """Walk with a plain loop over pages and items."""
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


class Httpx:
    """httpx as in its documentation, with orjson and dicts."""

    def __init__(self, base_url: str) -> None:
        import httpx  # noqa: PLC0415 - in this client's process only
        import orjson  # noqa: PLC0415

        self._loads, self._dumps = orjson.loads, orjson.dumps
        self._client = httpx.AsyncClient(base_url=base_url, headers={"Authorization": f"Bearer {API_KEY}"})

    async def walk(self) -> tuple[int, str]:
        """Walk with a plain loop over pages and items."""
        count, last, after = 0, None, _LATE_START
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
        return str((await self._read(f"/issued_passes/{client_id}"))["client_id"])

    async def _read(self, path: str) -> Any:  # noqa: ANN401 - JSON
        response = await self._client.get(path)
        return self._loads(response.raise_for_status().content)

    async def buy(self, client_id: str) -> str:
        """Post a dict under a UUID."""
        body = self._dumps({"client_id": client_id, "package_id": "cpkg_50"})
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        response = await self._client.post("/credit_purchases", content=body, headers=headers)
        return str(self._loads(response.raise_for_status().content)["client_id"])

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


class Stripe:
    """stripe over aiohttp, with its own objects; custom requests through ``raw_request_async``."""

    def __init__(self, base_url: str) -> None:
        import stripe  # noqa: PLC0415 - in this client's process only

        self._http = stripe.AIOHTTPClient()
        self._client = stripe.StripeClient(API_KEY, base_addresses={"api": base_url}, http_client=self._http)

    async def _call(self, method: str, path: str, **params: Any) -> Any:  # noqa: ANN401 - its object
        answer = await self._client.raw_request_async(method, path, **params)
        return self._client.deserialize(answer, api_mode="V1")

    async def walk(self) -> tuple[int, str]:
        """Walk with a plain loop over its list objects."""
        count, last, after = 0, None, _LATE_START
        while True:
            page = await self._call("get", f"/clients/{CLIENT}/bookings?limit={PAGE_SIZE}{after}")
            for booking in page.data:
                count += 1
                last = booking.id
            if not page.has_more:
                return count, str(last)
            after = f"&starting_after={last}"

    async def get(self, client_id: str) -> str:
        """Get an object."""
        return str((await self._call("get", f"/issued_passes/{client_id}")).client_id)

    async def buy(self, client_id: str) -> str:
        """Post a form, as it does, under a key that it generates."""
        made = await self._call("post", "/credit_purchases", client_id=client_id, package_id="cpkg_50")
        return str(made.client_id)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.close_async()


class OpenAI:
    """openai with pydantic models, over aiohttp or its default transport; each call is one request, without retries."""

    def __init__(self, base_url: str, *, over_aiohttp: bool) -> None:
        import openai  # noqa: PLC0415 - in this client's process only
        from openai import BaseModel  # noqa: PLC0415
        from openai.pagination import AsyncCursorPage  # noqa: PLC0415

        class Booking(BaseModel):
            object: str
            id: str
            status: str
            type: str
            service_name: str
            provider_name: str
            date: str
            time: str
            scheduled_for: int
            created: int
            message: str

        class Answer(BaseModel):
            object: str
            client_id: str

        http = openai.DefaultAioHttpClient() if over_aiohttp else None
        self._client = openai.AsyncOpenAI(api_key=API_KEY, base_url=base_url, http_client=http)
        self._page: Any = AsyncCursorPage[Booking]
        self._answer = Answer

    async def walk(self) -> tuple[int, str]:
        """Walk with a loop over its pages; its cursor parameter has a different name than the server's."""
        count, last, after = 0, None, _LATE_START
        while True:
            path = f"/clients/{CLIENT}/bookings?limit={PAGE_SIZE}{after}"
            page: Any = await self._client.get(path, cast_to=self._page)
            for booking in page.data:
                count += 1
                last = booking.id
            if not page.has_more:
                return count, str(last)
            after = f"&starting_after={last}"

    async def get(self, client_id: str) -> str:
        """Get a model."""
        return (await self._client.get(f"/issued_passes/{client_id}", cast_to=self._answer)).client_id

    async def buy(self, client_id: str) -> str:
        """Post a dict; the key has to be passed explicitly."""
        options: Any = {"headers": {"Idempotency-Key": str(uuid.uuid4())}}
        body = {"client_id": client_id, "package_id": "cpkg_50"}
        made = await self._client.post("/credit_purchases", cast_to=self._answer, body=body, options=options)
        return made.client_id

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


def _with_orjson(base_url: str) -> Client:
    import orjson  # noqa: PLC0415 - in this client's process only

    return RawAiohttp(base_url, orjson.loads, orjson.dumps)


def _with_json(base_url: str) -> Client:
    return RawAiohttp(base_url, json.loads, lambda value: json.dumps(value).encode())


BASE: Final = "aiohttp+orjson"


def installed(name: str) -> bool:
    """Return whether a client's library is installed."""
    return all(importlib.util.find_spec(module) for module in _NEEDS.get(name, ()))


PEERS: Final = ("httpx+orjson", "stripe (aiohttp)", "openai (aiohttp)", "openai")
_NEEDS: Final = dict(zip(PEERS, (("httpx",), ("stripe",), ("openai",), ("openai",)), strict=True))
CLIENTS: Final[Mapping[str, Callable[[str], Client]]] = {
    "bardge-async": Ours,
    BASE: _with_orjson,
    "aiohttp+json": _with_json,
    "httpx+orjson": Httpx,
    "stripe (aiohttp)": Stripe,
    "openai (aiohttp)": lambda base_url: OpenAI(base_url, over_aiohttp=True),
    "openai": lambda base_url: OpenAI(base_url, over_aiohttp=False),
}
"""The extra ``bench`` installs the peers; those that are not installed are skipped."""
