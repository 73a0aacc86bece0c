"""The API key appears nowhere: not in logs, representations, errors, tracebacks or the locals of their frames."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import pytest

from bardge_async import BardgeClient, BardgeError, ConfigurationError, PurchaseCredits, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.calls import get_credits, purchase_credits
from tests.support.canary import CANARY, find_canary, find_in_error, find_in_log
from tests.support.net import Authority, ConnectProxy, call_back_then, find_refused_port, listen
from tests.support.server import Received, ScriptedServer, Step, cut, error, hang, reply, send_raw

pytestmark = pytest.mark.usefixtures("both_ways")

PURCHASE: Final = PurchaseCredits(client_id="c", package_id="p")
Caller = Callable[[BardgeClient], Coroutine[Any, Any, object]]


@asynccontextmanager
async def open_watched(base_url: str, **options: Any) -> AsyncGenerator[BardgeClient]:
    """Open a client with the canary as its key, in a loop in debug mode."""
    asyncio.get_running_loop().set_debug(True)
    options = {"clock": ManualClock(), "retry": RetryPolicy(max_attempts=2, base=0), **options}
    async with BardgeClient(CANARY, base_url, **options) as bardge:
        yield bardge


@pytest.fixture(autouse=True)
def at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def find_in_outcome(call: Awaitable[object]) -> list[str]:
    """Return where the canary appears in what a call raises."""
    try:
        await call
    except BaseException as error:  # noqa: BLE001 - any exception
        return find_in_error(error)
    return []


def echo_key(status: int, wrap: Callable[[str], object]) -> Step:
    """Answer with the request's own Authorization, as debug servers do."""

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        await reply(status, wrap(request.headers["authorization"]))(request, writer)

    return handle_request


def echo_head(before: bytes) -> Step:
    """Send the request's head back as if it were a response."""

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        await send_raw(before + head.encode() + b"\x00\r\n\r\n")(request, writer)

    return handle_request


SCRIPTS: Final[dict[str, Step]] = {
    "success": reply(200, {"balance": 5}),
    "401": error(401, "authentication_error", "invalid_api_key"),
    "403": error(403),
    "404": error(404),
    "409": error(409, "resource_conflict_error"),
    "422": error(422),
    "429": error(429),
    "500": error(500),
    "503 page": reply(503, body=b"<html>down</html>"),
    "redirect": reply(302, headers={"Location": "http://127.0.0.1:1/"}),
    "cut": cut(),
    "garbage": send_raw(b"\x00\xffgarbage\r\n\r\n"),
    "half a status line": send_raw(b"HTTP/1.1 2"),
    "cut body": send_raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a'),
    "wrong shape": reply(200, {"balance": "x"}),
    "no JSON": reply(200, body=b"hello"),
    "bad gzip": reply(200, body=b"hello", headers={"Content-Encoding": "gzip"}),
    "too large": send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"),
    "echo in an error": echo_key(401, lambda text: {"error": {"type": "x", "message": f"no such key: {text}"}}),
    "echo in a page": echo_key(400, lambda text: {"headers": {"Authorization": text}}),
    "echo in a wrong shape": echo_key(200, lambda text: {"balance": text}),
    "echo on the wire": echo_head(b""),
    "echo in the head": echo_head(b"HTTP/1.1 200 OK\r\n"),
    "echo as request id": echo_key(200, lambda text: [text]),
}


@pytest.mark.parametrize("call", [get_credits, purchase_credits])
@pytest.mark.parametrize("name", SCRIPTS)
async def test_answers(name: str, call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the server does, the key appears in no error, log record or object of the client."""
    async with ScriptedServer(SCRIPTS[name]) as server, open_watched(server.base_url) as bardge:
        found = await find_in_outcome(call(bardge))
        found += find_canary(bardge)
    assert not found + find_in_log(caplog.records)


@pytest.mark.parametrize("call", [get_credits, purchase_credits])
async def test_cancelled_task(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled call shows the key in no frame, aiohttp's included."""
    reached = anyio.Event()
    async with ScriptedServer(hang(reached)) as server, open_watched(server.base_url) as bardge:
        task = asyncio.create_task(call(bardge))
        await reached.wait()
        task.cancel()
        found = await find_in_outcome(task)
    assert not found + find_in_log(caplog.records)


@pytest.mark.parametrize("call", [get_credits, purchase_credits])
async def test_fail_after(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """A call that is ended by anyio's fail_after shows the key nowhere."""

    async def call_with_deadline() -> None:
        with anyio.fail_after(60) as scope:
            server.script = [call_back_then(lambda: setattr(scope, "deadline", float("-inf")))]
            await call(bardge)

    async with ScriptedServer() as server, open_watched(server.base_url) as bardge:
        found = await find_in_outcome(call_with_deadline())
    assert not found + find_in_log(caplog.records)


@pytest.mark.parametrize("call", [get_credits, purchase_credits])
async def test_asyncio_timeout(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """A call that is ended by asyncio.timeout shows the key nowhere."""

    async def call_with_deadline() -> None:
        async with asyncio.timeout(60) as limit:
            server.script = [call_back_then(lambda: limit.reschedule(0))]
            await call(bardge)

    async with ScriptedServer() as server, open_watched(server.base_url) as bardge:
        found = await find_in_outcome(call_with_deadline())
    assert not found + find_in_log(caplog.records)


async def test_attempt_timeout(caplog: pytest.LogCaptureFixture) -> None:
    """A call that runs out of its own time shows the key nowhere."""
    clock = ManualClock()
    async with (
        ScriptedServer(call_back_then(lambda: clock.advance(25))) as server,
        open_watched(server.base_url, clock=clock) as bardge,
    ):
        found = await find_in_outcome(purchase_credits(bardge))
    assert not found + find_in_log(caplog.records)


async def test_connect_timeout(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that is never established shows the key nowhere."""
    clock = ManualClock()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        clock.advance(10)
        await asyncio.Event().wait()

    async with listen(never_answer) as port, open_watched(f"https://127.0.0.1:{port}", clock=clock) as bardge:
        found = await find_in_outcome(purchase_credits(bardge))
    assert not found + find_in_log(caplog.records)


@pytest.mark.parametrize("where", ["refused", "no such host"])
async def test_no_connection(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection and an unknown host show the key nowhere."""
    url = f"http://127.0.0.1:{find_refused_port()}" if where == "refused" else "https://bardge.invalid"
    async with open_watched(url) as bardge:
        found = await find_in_outcome(purchase_credits(bardge))
    assert not found + find_in_log(caplog.records)


async def test_tls_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A certificate that is not trusted shows the key nowhere."""
    async with ScriptedServer(reply(), tls=Authority().server) as server, open_watched(server.base_url) as bardge:
        found = await find_in_outcome(purchase_credits(bardge))
    assert not found + find_in_log(caplog.records)


async def test_proxy_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """A proxy that refuses shows the key nowhere, and does not get it."""
    async with ConnectProxy(refusal=b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        async with open_watched("https://localhost:1", proxy=proxy.url) as bardge:
            found = await find_in_outcome(purchase_credits(bardge))
        found += find_canary([dict(request.headers) for request in proxy.requests])
    assert proxy.requests
    assert not found + find_in_log(caplog.records)


def _fail_to_get_key() -> str:
    raise OSError


WRONG: Final[dict[str, Callable[[], object]]] = {
    "scheme": lambda: BardgeClient(CANARY, "http://example.com"),
    "no URL": lambda: BardgeClient(CANARY, "x"),
    "base_url is the key": lambda: BardgeClient("x", CANARY),
    "base_url with the key as user": lambda: BardgeClient(CANARY, f"https://{CANARY}@example.com"),
    "base_url with the key as port": lambda: BardgeClient(CANARY, f"https://example.com:{CANARY}"),
    "base_url with the key as host": lambda: BardgeClient(CANARY, f"http://{CANARY}"),
    "base_url with the key as query": lambda: BardgeClient(CANARY, f"https://example.com?key={CANARY}"),
    "bytes": lambda: BardgeClient(CANARY.encode()),  # type: ignore[arg-type]
    "list": lambda: BardgeClient([CANARY]),  # type: ignore[arg-type]
    "newline": lambda: BardgeClient(CANARY + "\n"),
    "blank": lambda: BardgeClient(" " + CANARY),
    "not ASCII": lambda: BardgeClient(CANARY + "é"),
    "too long": lambda: BardgeClient(CANARY * 1000),
    "paths": lambda: BardgeClient(CANARY, paths={"passes.list": "nowhere"}),
    "timeout": lambda: BardgeClient(CANARY, timeout=-1),
    "ssl": lambda: BardgeClient(CANARY, ssl=False),  # type: ignore[arg-type]
    "proxy": lambda: BardgeClient(CANARY, proxy="nowhere"),
    "max_connections": lambda: BardgeClient(CANARY, max_connections=0),
    "session": lambda: BardgeClient(CANARY, session=1),  # type: ignore[arg-type]
    "with_options bytes": lambda: BardgeClient("x").with_options(api_key=CANARY.encode()),  # type: ignore[arg-type]
    "with_options newline": lambda: BardgeClient("x").with_options(api_key=CANARY + "\n"),
    "with_options timeout": lambda: BardgeClient(CANARY).with_options(timeout=-1),
}


@pytest.mark.parametrize("name", WRONG)
def test_construction(name: str) -> None:
    """A client that cannot be created raises ConfigurationError without the key, even in frames' locals."""
    with pytest.raises(ConfigurationError) as caught:
        WRONG[name]()
    assert not find_in_error(caught.value)


def test_half_made_client() -> None:
    """A client whose construction failed can still be represented, as error reporters do with a frame's locals."""
    assert repr(BardgeClient.__new__(BardgeClient)) == "BardgeClient(base_url=None, api_key='***')"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid key from the environment appears nowhere."""
    monkeypatch.setenv("BARDGE_API_KEY", CANARY + "\n")
    with pytest.raises(ConfigurationError) as caught:
        BardgeClient()
    assert not find_in_error(caught.value)


def test_base_url_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment's base URL appears nowhere."""
    monkeypatch.setenv("BARDGE_BASE_URL", f"https://{CANARY}@example.com")
    with pytest.raises(ConfigurationError) as caught:
        BardgeClient(CANARY)
    assert not find_in_error(caught.value)


SOURCES: Final[dict[str, Any]] = {
    "newline": lambda: CANARY + "\n",
    "bytes": CANARY.encode,
    "list": lambda: [CANARY],
    "raises": _fail_to_get_key,
}


@pytest.mark.parametrize("name", SOURCES)
async def test_callable(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A callable that fails, or returns an invalid key, shows no key."""
    async with BardgeClient(SOURCES[name], f"http://127.0.0.1:{find_refused_port()}") as bardge:
        with pytest.raises(ConfigurationError) as caught:
            await get_credits(bardge)
    assert not find_in_error(caught.value) + find_in_log(caplog.records)


async def test_callable_by_await(caplog: pytest.LogCaptureFixture) -> None:
    """An awaited key appears nowhere, in use or after a rejection."""

    async def get_key() -> str:
        return CANARY

    async with (
        ScriptedServer(error(401, "x", "invalid_api_key")) as server,
        BardgeClient(get_key, server.base_url, clock=ManualClock()) as bardge,
    ):
        with pytest.raises(BardgeError) as caught:
            await get_credits(bardge)
        found = find_in_error(caught.value) + list(find_canary(bardge))
    assert CANARY in server.requests[0].headers["authorization"]
    assert not found + find_in_log(caplog.records)


async def test_derived_client(caplog: pytest.LogCaptureFixture) -> None:
    """A key given to with_options appears nowhere either."""
    async with (
        ScriptedServer(error(403)) as server,
        BardgeClient("other", server.base_url, clock=ManualClock()) as bardge,
    ):
        derived = bardge.with_options(api_key=CANARY)
        found = await find_in_outcome(get_credits(derived))
        found += find_canary(derived)
    assert CANARY in server.requests[0].headers["authorization"]
    assert not found + find_in_log(caplog.records)


async def test_live_objects() -> None:
    """While a call is in flight, no object of the library or of aiohttp shows the key by its repr."""
    reached = anyio.Event()
    async with ScriptedServer(hang(reached)) as server, open_watched(server.base_url) as bardge:
        task = asyncio.create_task(purchase_credits(bardge))
        await reached.wait()
        ours = [one for one in gc.get_objects() if str(type(one).__module__).startswith(("bardge_async", "aiohttp"))]
        found = [type(one).__name__ for one in ours if any(find_canary(one, depth=1))]
        task.cancel()
        await asyncio.wait({task})
    assert not found


def test_the_search_finds() -> None:
    """The search itself finds the canary in text, bytes, containers, attributes, errors and frames."""

    def raise_with_key(key: str) -> None:
        raise BardgeError(key)

    with pytest.raises(BardgeError) as caught:
        raise_with_key(CANARY)
    assert {"BardgeError str", "BardgeError traceback"} <= set(find_in_error(caught.value))
    assert [*find_canary({"a": [CANARY.encode()]})]
    assert not [*find_canary(ManualClock)]
