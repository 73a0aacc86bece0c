"""Raw requests to a running sandbox, without our client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
import attrs
import orjson
import pytest
import pytest_asyncio
from yarl import URL

from bardge_async.sandbox import Sandbox

JSON: TypeAlias = dict[str, Any]


@attrs.frozen
class Reply:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> JSON:
        """Return the decoded body."""
        return dict(orjson.loads(self.body))

    @property
    def error(self) -> JSON:
        """Return the error object."""
        return dict(self.json["error"])

    @property
    def replayed(self) -> bool:
        """Return whether the response came from the idempotency store."""
        return self.headers.get("X-Idempotent-Replayed") == "true"

    @property
    def ids(self) -> list[str]:
        """Return the ids of a page's items."""
        return [item["id"] for item in self.json["data"]]


@attrs.frozen
class Raw:
    """Send plain requests to a sandbox."""

    sandbox: Sandbox
    session: aiohttp.ClientSession

    async def get(self, path: str, *, api_key: str | None = None, **query: str | float) -> Reply:
        """Send a GET."""
        return await self.send("GET", path, api_key=api_key, params=query)

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        api_key: str | None = None,
        token: str | None = None,
    ) -> Reply:
        """Send a POST; ``body`` may be JSON or bytes."""
        headers = {"Idempotency-Key": key} if key else {}
        if token:
            headers["Bardge-Lookup-Token"] = token
        if isinstance(body, bytes):
            return await self.send("POST", path, api_key=api_key, headers=headers, data=body)
        return await self.send("POST", path, api_key=api_key, headers=headers, json=body)

    async def send(
        self, method: str, path: str, *, api_key: str | None = None, headers: JSON | None = None, **options: Any
    ) -> Reply:
        """Send any request."""
        auth = {"Authorization": f"Bearer {api_key or self.sandbox.api_key}"}
        url = URL(self.sandbox.base_url + path, encoded=True)
        async with self.session.request(method, url, headers={**auth, **(headers or {})}, **options) as response:
            return Reply(response.status, dict(response.headers), await response.read())


Open: TypeAlias = Callable[..., AbstractAsyncContextManager[Raw]]


@asynccontextmanager
async def open_sandbox(**settings: Any) -> AsyncGenerator[Raw]:
    """Run a sandbox with a plain session beside it."""
    async with Sandbox(**settings) as sandbox, aiohttp.ClientSession() as session:
        yield Raw(sandbox, session)


@pytest.fixture
def sandboxed() -> Open:
    """Return a function that opens a sandbox with settings of the test's own."""
    return open_sandbox


@pytest.fixture
def buy() -> JSON:
    """Return the body of a credit purchase."""
    return {"client_id": "client_abc123", "package_id": "cpkg_50"}


@pytest_asyncio.fixture(loop_scope="function")
async def raw() -> AsyncGenerator[Raw]:
    """Open a sandbox with default settings."""
    async with open_sandbox() as opened:
        yield opened
