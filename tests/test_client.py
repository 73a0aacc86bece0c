"""The client as its users make and use it."""

from __future__ import annotations

import asyncio
import datetime as dt
import warnings
from decimal import Decimal
from typing import Any

import pytest

import bardge_async
from bardge_async import (
    BardgeClient,
    OutcomeUnknownError,
    Pass,
    PasscodeRequest,
    PurchaseCredits,
    ReplayWindow,
    RetryPolicy,
    Timeouts,
    UpdateIssuedPassExpiry,
    endpoints,
    errors,
    models,
)
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.support.rig import AT_ONCE, PURCHASE, advance_then, open_rig
from tests.support.server import ScriptedServer, cut, error, find_free_port, reply, send_raw

LOCAL = "http://127.0.0.1:1"
BOUGHT = reply(201, {"balance": 5}, {"Bardge-Request-Id": "req_1"})
EMPTY = reply(200, {"data": [], "has_more": False})


def test_made_outside_of_a_loop() -> None:
    """A client can be created without an event loop, and opens nothing until it is used."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = BardgeClient("key", LOCAL)
        del client


async def get_balance(client: BardgeClient, server: ScriptedServer) -> Decimal | None:
    async with server:
        return (await client.clients.get_credits("c")).balance


def test_used_in_several_loops() -> None:
    """One client works over several ``asyncio.run`` calls."""
    server = ScriptedServer(reply(200, {"balance": 5}), port=find_free_port())
    client = BardgeClient("key", f"http://127.0.0.1:{server.port}")
    assert [asyncio.run(get_balance(client, server)) for _ in range(3)] == [5, 5, 5]
    asyncio.run(client.aclose())


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key and base URL come from the environment unless given."""
    monkeypatch.setenv("BARDGE_API_KEY", "from-env")
    monkeypatch.setenv("BARDGE_BASE_URL", "http://localhost:9/v3/")
    assert repr(BardgeClient()) == "BardgeClient(base_url='http://localhost:9/v3', api_key='***')"


def test_default_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any setting the vendor's base URL is used."""
    monkeypatch.delenv("BARDGE_BASE_URL", raising=False)
    assert "https://api-prod.bardge.com/v3/api/business/reseller" in repr(BardgeClient("key"))


def test_empty_base_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable, as compose files set it, counts as unset."""
    monkeypatch.setenv("BARDGE_BASE_URL", "")
    assert "https://api-prod.bardge.com/v3/api/business/reseller" in repr(BardgeClient("key"))


@pytest.mark.parametrize("wrong", ["http://example.com", "api.example/v3", "https://", " ", "https://h/?key=secret"])
def test_bad_base_url_in_the_environment(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """A base URL from the environment that is refused is reported with the variable's name, and not repeated."""
    monkeypatch.setenv("BARDGE_BASE_URL", wrong)
    with pytest.raises(errors.ConfigurationError, match=r"^BARDGE_BASE_URL: ") as caught:
        BardgeClient("key")
    assert "secret" not in str(caught.value)


async def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given settings override the environment's."""
    monkeypatch.setenv("BARDGE_API_KEY", "from-env")
    monkeypatch.setenv("BARDGE_BASE_URL", LOCAL)
    async with open_rig(reply(200, {})) as it:
        await it.bardge.clients.get("c")
    assert it.server.requests[0].headers["authorization"] == "Bearer key"


async def test_key_from_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's key is sent as the bearer token."""
    monkeypatch.setenv("BARDGE_API_KEY", "from-env")
    async with ScriptedServer(reply(200, {})) as server, BardgeClient(base_url=server.base_url) as bardge:
        await bardge.clients.get("c")
    assert server.requests[0].headers["authorization"] == "Bearer from-env"


@pytest.mark.parametrize("value", [None, ""])
def test_no_key(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """Without a key no client is created, and the error says where to put one."""
    monkeypatch.delenv("BARDGE_API_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("BARDGE_API_KEY", value)
    with pytest.raises(errors.ConfigurationError, match="BARDGE_API_KEY"):
        BardgeClient()


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://api-prod.bardge.com/v3", "plain HTTP"),
        ("http://127.0.0.1.evil.example", "plain HTTP"),
        ("http://localhost.evil.example", "plain HTTP"),
        ("ftp://localhost", "scheme"),
        ("localhost:8080", "scheme|host"),
        ("//localhost", "scheme"),
        ("https://", "host"),
        ("https:///v3", "host"),
        ("https://user:s3cret@api.example", "user info"),
        ("https://@api.example", "user info"),
        ("https://api.example/v3?x=1", "query"),
        ("https://api.example/v3?", "query"),
        ("https://api.example/v3#top", "query|fragment"),
        ("https://api.example:port", "port"),
        ("https://api.example/a b", "URL"),
        ("https://api.example/\n", "URL|scheme"),
        ("", "scheme|URL"),
        (b"https://api.example", "base_url"),
    ],
)
def test_refused_base_url(url: Any, word: str) -> None:
    """A base URL that could leak the key or lead elsewhere is rejected when the client is created."""
    with pytest.raises(errors.ConfigurationError, match=word) as caught:
        BardgeClient("key", url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "http://127.8.0.1", "http://[::1]:81/x", "http://localhost", "https://api.example/v3/"],
)
def test_allowed_base_url(url: str) -> None:
    """HTTPS anywhere and HTTP to this machine are accepted."""
    assert url.rstrip("/") in repr(BardgeClient("key", url))


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTPS://API.Example:443/V3/", "https://api.example/V3"),
        ("https://api.example:0443//", "https://api.example"),
        ("https://api.example:8443/v3", "https://api.example:8443/v3"),
        ("http://LOCALHOST:80", "http://localhost"),
        ("http://[0:0:0:0:0:0:0:1]/v3", "http://[::1]/v3"),
        ("https://[::FFFF:1.2.3.4]/v3", "https://[::ffff:102:304]/v3"),
        ("https://Bücher.example:443/v3", "https://xn--bcher-kva.example/v3"),
        ("https://XN--bcher-kva.example/v3", "https://xn--bcher-kva.example/v3"),
        ("https://api。example/v3", "https://api.example/v3"),
        ("https://h/%7Ebob/%76%33/a%2fb", "https://h/~bob/v3/a%2Fb"),
        ("https://h/{a}", "https://h/%7Ba%7D"),
        ("https://h/a/../v3/./", "https://h/v3"),
        ("https://h/a/%2E%2e/v3", "https://h/v3"),
        ("https://h/v3/./api", "https://h/v3/api"),
        ("https://h/v3/x/../api/.", "https://h/v3/api"),
        ("https://h/../../v3", "https://h/v3"),
        ("https://h/a//v3", "https://h/a//v3"),
    ],
)
def test_one_spelling_of_a_base_url(url: str, normal: str) -> None:
    """However a server is spelled, its base URL has one spelling, which has itself."""
    assert f"base_url={normal!r}" in repr(BardgeClient("key", url))
    assert f"base_url={normal!r}" in repr(BardgeClient("key", normal))


REFUSED_SETTINGS: dict[str, dict[str, Any]] = {
    "timeout": {"timeout": 0},
    "timeout text": {"timeout": "5"},
    "timeout nan": {"timeout": float("nan")},
    "max_connections": {"max_connections": 0},
    "max_connections bool": {"max_connections": True},
    "paths row": {"paths": {"passes.burn": "/x"}},
    "paths placeholder": {"paths": {"bookings.cancel": "/bookings/{id}"}},
    "paths slash": {"paths": {"passes.list": "passes"}},
    "account type": {"account": 5},
    "account newline": {"account": "a\nb"},
    "key type": {"api_key": 5},
    "key newline": {"api_key": "a\nb"},
    "proxy": {"proxy": "socks5://x"},
    "ssl": {"ssl": True},
    "session": {"session": object()},
    "two transports": {"transport": object(), "proxy": "http://proxy.example"},
}


def make_client(settings: dict[str, Any]) -> BardgeClient:
    complete: dict[str, Any] = {"api_key": "key", "base_url": LOCAL, **settings}
    return BardgeClient(**complete)


@pytest.mark.parametrize("settings", REFUSED_SETTINGS.values(), ids=REFUSED_SETTINGS)
def test_refused_settings(settings: dict[str, Any]) -> None:
    """Wrong settings are rejected when the client is created."""
    with pytest.raises(errors.ConfigurationError):
        make_client(settings)


REFUSED_VALUES: list[tuple[type[Any], dict[str, Any]]] = [
    (Timeouts, {"total": 0}),
    (Timeouts, {"attempt": -1}),
    (Timeouts, {"connect": True}),
    (Timeouts, {"pool": "1"}),
    (Timeouts, {"total": float("inf")}),
    (RetryPolicy, {"max_attempts": 0}),
    (RetryPolicy, {"base": -0.1}),
    (RetryPolicy, {"cap": float("nan")}),
    (RetryPolicy, {"retry_after_cap": None}),
    (ReplayWindow, {"length": 0}),
    (ReplayWindow, {"length": 10, "margin": 10}),
    (ReplayWindow, {"margin": -1}),
]


@pytest.mark.parametrize(("cls", "values"), REFUSED_VALUES)
def test_refused_setting_values(cls: type[Any], values: dict[str, Any]) -> None:
    """A setting out of its range is rejected by its name."""
    with pytest.raises(errors.ConfigurationError, match=next(iter(values)) if len(values) == 1 else "margin"):
        cls(**values)


async def test_number_as_timeout() -> None:
    """A plain number limits the whole call, and shorter limits stay within it."""
    clock = ManualClock()
    async with open_rig(advance_then(clock, 2), clock=clock, timeout=2) as it:
        with pytest.raises(errors.NoAnswerError) as caught:
            await it.bardge.clients.get("c")
    assert (caught.value.timed_out, it.request_count) == (True, 1)


async def test_with_options_changes_settings() -> None:
    """A derived client has another key, paths and policy over the same connections; the first client keeps its own."""
    async with open_rig(cut(), EMPTY) as it:
        other = it.bardge.with_options(
            api_key="second", paths={"passes.list": "/v4/passes"}, retry=RetryPolicy(max_attempts=1), timeout=5
        )
        with pytest.raises(errors.NoAnswerError):
            await other.send("passes.list")
        await it.bardge.send("passes.list")
    sent = [(r.path, r.headers["authorization"]) for r in it.server.requests]
    assert sent == [("/v4/passes", "Bearer second"), ("/passes", "Bearer key")]


async def test_with_options_shares_the_connections() -> None:
    """A derived client reuses the first one's connections, and closing it closes nothing."""
    async with open_rig(reply(200, {})) as it:
        async with it.bardge.with_options(timeout=5) as other:
            await other.clients.get("c")
        await it.bardge.clients.get("c")
    assert (it.request_count, it.server.connections) == (2, 1)


async def test_with_options_keeps_what_is_not_given() -> None:
    """Options that are not given stay as they were."""
    async with open_rig(EMPTY, paths={"passes.list": "/v4/passes"}) as it:
        await it.bardge.with_options(timeout=5).send("passes.list")
    (request,) = it.server.requests
    assert (request.path, request.headers["authorization"]) == ("/v4/passes", "Bearer key")


def test_with_options_refuses_too() -> None:
    """``with_options`` rejects the same settings as the constructor."""
    client = BardgeClient("key", LOCAL)
    refused: list[dict[str, Any]] = [{"timeout": 0}, {"paths": {"x": "/y"}}, {"api_key": "a\nb"}]
    for settings in refused:
        with pytest.raises(errors.ConfigurationError):
            client.with_options(**settings)


@pytest.mark.parametrize("endpoint", ["credits.purchase", endpoints.PURCHASE_CREDITS])
async def test_send(endpoint: Any) -> None:
    """``send`` takes an endpoint or its name and returns the response's details with the result."""
    async with open_rig(cut(), BOUGHT) as it:
        response = await it.bardge.send(endpoint, request=PURCHASE, key="order-1")
    assert (response.value.balance, response.status, response.request_id) == (5, 201, "req_1")
    assert (response.attempts, response.idempotency_key, response.replayed) == (2, "order-1", None)
    assert response.headers["bardge-request-id"] == "req_1"
    assert it.keys == ["order-1", "order-1"]


async def test_send_tells_a_replay() -> None:
    """A replayed response is marked as the server's."""
    async with open_rig(reply(201, {"balance": 5}, {"x-idempotent-replayed": "TRUE"})) as it:
        assert (await it.bardge.send(endpoints.PURCHASE_CREDITS, request=PURCHASE)).replayed == "server"


async def test_send_a_page() -> None:
    """``send`` of a list returns its first page, with the request id."""
    body = {"data": [{"id": "pass_1"}], "has_more": True}
    async with open_rig(reply(200, body, {"Bardge-Request-Id": "req_1"})) as it:
        page = (await it.bardge.send(endpoints.LIST_PASSES)).value
    assert (page.items, page.has_more, page.request_id) == ((Pass(id="pass_1"),), True, "req_1")


async def test_send_with_path_and_token() -> None:
    """Path arguments are positional, and lookup endpoints take the token."""
    async with open_rig(reply(200, {})) as it:
        await it.bardge.send(endpoints.GET_CLIENT, "a/b")
        await it.bardge.send(endpoints.GENERATE_ACCESS_CODE, request=models.AccessCodeRequest(), lookup_token="lkpt_1")
    assert it.server.requests[0].target == "/clients/a%2Fb"
    assert it.server.requests[1].headers["bardge-lookup-token"] == "lkpt_1"


REFUSED_CALLS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "unknown row": ("credits.burn", (), {}),
    "wrong class": ("credits.purchase", (), {"request": UpdateIssuedPassExpiry(expiry_date=dt.date(2026, 1, 1))}),
    "mapping": ("credits.purchase", (), {"request": {"client_id": "c"}}),
    "no request": ("credits.purchase", (), {}),
    "request for a GET": ("clients.get", ("c",), {"request": PURCHASE}),
    "request for a bodiless POST": ("bookings.cancel", ("b",), {"request": PURCHASE}),
    "no path argument": ("clients.get", (), {}),
    "too many path arguments": ("clients.get", ("a", "b"), {}),
    "empty path argument": ("clients.get", ("",), {}),
    "dots": ("clients.get", ("..",), {}),
    "key for a GET": ("clients.get", ("c",), {"key": "k"}),
    "bad key": ("credits.purchase", (), {"request": PURCHASE, "key": "a\nb"}),
    "token where none is taken": ("credits.purchase", (), {"request": PURCHASE, "lookup_token": "t"}),
    "bad token": ("access_codes.generate", (), {"request": models.AccessCodeRequest(), "lookup_token": "t\r\nX: 1"}),
}


@pytest.mark.parametrize(("row", "path", "options"), REFUSED_CALLS.values(), ids=REFUSED_CALLS)
async def test_refused_calls(row: Any, path: tuple[Any, ...], options: dict[str, Any]) -> None:
    """A wrong call is rejected before anything is sent."""
    async with open_rig(BOUGHT) as it:
        with pytest.raises(errors.InvalidArgumentError):
            await it.bardge.send(row, *path, **options)
    assert it.request_count == 0


async def test_key_for_a_row_that_takes_none() -> None:
    """A key that the server would ignore is rejected: it would protect nothing."""
    async with open_rig(BOUGHT) as it:
        request = models.SpaCopayQuoteRequest(client_id="c", service_ids=["s"])
        with pytest.raises(errors.IdempotencyMisuseError):
            await it.bardge.send("copay.quote_spa", "prov_1", request=request, key="order-1")
    assert it.request_count == 0


async def test_request_with_mapping() -> None:
    """``request`` reaches URLs without an endpoint: body, query, token and a fresh key are sent, JSON is returned."""
    async with open_rig(reply(200, {"price": 0.1}, {"Bardge-Request-Id": "req_1"})) as it:
        response = await it.bardge.request(
            "POST",
            "/passcodes/new one",
            request={"client_id": "c"},
            query={"q": "a&b", "none": None},
            lookup_token="lkpt_1",
        )
    (sent,) = it.server.requests
    assert (sent.method, sent.target, sent.body) == ("POST", "/passcodes/new%20one?q=a%26b", b'{"client_id":"c"}')
    assert (sent.headers["authorization"], sent.headers["bardge-lookup-token"]) == ("Bearer key", "lkpt_1")
    assert (response.value, response.request_id, response.idempotency_key) == (
        {"price": Decimal("0.1")},
        "req_1",
        it.keys[0],
    )


async def test_request_with_classes() -> None:
    """Request and response may be classes of the library."""
    async with open_rig(reply(200, {"passcode": "ABC"})) as it:
        response = await it.bardge.request(
            "POST", "/passcodes", request=PasscodeRequest(client_id="c"), response=models.Passcode, key="order-1"
        )
    assert (response.value, it.keys) == (models.Passcode(passcode="ABC"), ["order-1"])


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_request_with_a_class_needs_a_body(status: int) -> None:
    """A result class promises content: without a body the outcome is unknown."""
    step = send_raw(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode(), close=False)
    async with open_rig(step) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.request("POST", "/passcodes", request={}, response=models.Passcode)
        assert len(await it.bardge.in_doubt()) == 1


@pytest.mark.parametrize("status", [203, 205, 206, 226])
async def test_request_of_an_odd_status_needs_a_body(status: int) -> None:
    """So do the other successes."""
    async with open_rig(reply(status, body=b"")) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.request("POST", "/passcodes", request={})


async def test_request_get_has_no_key() -> None:
    """A GET carries no key and no body."""
    async with open_rig(reply(200, [1, 2])) as it:
        assert (await it.bardge.request("GET", "/odd")).value == [1, 2]
    assert (it.keys, it.server.requests[0].body) == ([None], b"")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_request_methods(method: str) -> None:
    """Every request that may change something is sent under a key."""
    async with open_rig(reply(200, {})) as it:
        await it.bardge.request(method, "/odd")
    assert (it.server.requests[0].method, it.keys[0] is not None) == (method, True)


REFUSED_REQUESTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "method": ("TRACE", "/x", {}),
    "lower case": ("get", "/x", {}),
    "other host": ("GET", "//evil.example/x", {}),
    "whole URL": ("GET", "https://evil.example/x", {}),
    "no slash": ("GET", "x", {}),
    "empty": ("GET", "", {}),
    "dots": ("GET", "/../x", {}),
    "encoded dots": ("GET", "/%2e%2e/x", {}),
    "empty segment": ("GET", "/a//b", {}),
    "query": ("GET", "/x?y=1", {}),
    "fragment": ("GET", "/x#y", {}),
    "backslash": ("GET", "/a\\b", {}),
    "newline": ("GET", "/a\nb", {}),
    "stray percent": ("GET", "/a%zz", {}),
    "no text": ("GET", 5, {}),
    "key for a GET": ("GET", "/x", {"key": "k"}),
    "bad key": ("POST", "/x", {"key": " k"}),
    "bad token": ("POST", "/x", {"lookup_token": "a\nb"}),
    "bad query": ("GET", "/x", {"query": {"a": [1]}}),
    "list as body": ("POST", "/x", {"request": [1]}),
    "text as body": ("POST", "/x", {"request": "a=b"}),
    "body that is no JSON": ("POST", "/x", {"request": {"a": object()}}),
}


@pytest.mark.parametrize(("method", "path", "options"), REFUSED_REQUESTS.values(), ids=REFUSED_REQUESTS)
async def test_refused_requests(method: Any, path: Any, options: dict[str, Any]) -> None:
    """A ``request`` call that could reach elsewhere, or cannot be sent, is rejected before anything is sent."""
    async with open_rig(reply(200, {})) as it:
        with pytest.raises(errors.InvalidArgumentError):
            await it.bardge.request(method, path, **options)
    assert it.request_count == 0


async def test_corrected_paths_reach_the_wire() -> None:
    """An overridden path is called, with its arguments in the order of the endpoint's own path."""
    paths = {"bookings.cancel": "/v4/bookings/{booking_id}", "passes.list": "/v4/passes"}
    async with open_rig(reply(200, {"data": [], "has_more": False}), paths=paths) as it:
        await it.bardge.bookings.cancel("b/1")
        assert [item async for item in it.bardge.passes.list()] == []
    assert [r.path for r in it.server.requests] == ["/v4/bookings/b%2F1", "/v4/passes"]


async def test_base_path_is_kept() -> None:
    """Endpoints are below the base URL's own path."""
    async with ScriptedServer(reply(200, {})) as server, BardgeClient("key", f"{server.base_url}/v3/api/") as bardge:
        await bardge.clients.get("c")
    assert server.requests[0].path == "/v3/api/clients/c"


@pytest.mark.parametrize("module", [errors, endpoints, models])
def test_root_has_every_public_name(module: Any) -> None:
    """Errors, endpoints and models can all be imported from the root, where they are listed."""
    assert set(module.__all__) <= set(bardge_async.__all__)
    assert all(getattr(bardge_async, name) is getattr(module, name) for name in module.__all__)


def test_root_lists_what_it_has() -> None:
    """``__all__`` holds each name once, and nothing that does not exist."""
    names = bardge_async.__all__
    assert len(names) == len(set(names))
    assert all(hasattr(bardge_async, name) for name in names)


def test_settings_are_at_the_root() -> None:
    """Names that users set or annotate with are there too."""
    wanted = {
        "BardgeClient",
        "IdempotentClient",
        "RetryPolicy",
        "Timeouts",
        "ReplayWindow",
        "Response",
        "Walk",
        "Clock",
    }
    assert wanted | {"Transport", "WireRequest", "WireResponse", "AttemptLimits", "UNSET"} <= set(bardge_async.__all__)


def make_sandbox_client(sandbox: Sandbox, **options: Any) -> BardgeClient:
    return BardgeClient(sandbox.api_key, sandbox.base_url, retry=AT_ONCE, **options)


async def test_cut_after_the_charge_is_one_charge() -> None:
    """The main job: the connection is cut after the charge, the money moves once, and the block reports a replay."""
    async with Sandbox() as sandbox, make_sandbox_client(sandbox) as bardge:
        before = len(sandbox.ledger("client_abc123"))
        sandbox.cut_after("credits.purchase")
        async with bardge.idempotent("order-8731") as once:
            bought = await once.credits.purchase(PurchaseCredits(client_id="client_abc123", package_id="cpkg_50"))
        left = await bardge.clients.get_credits("client_abc123")
        entries = sandbox.ledger("client_abc123")[before:]
    assert (once.replayed, once.attempts) == ("server", 2)
    assert [entry.idempotency_key for entry in entries] == ["order-8731"]
    assert bought.balance == left.balance


async def test_cut_before_the_charge_is_one_charge() -> None:
    """A connection cut before the charge ends in one charge as well, without a replay."""
    async with Sandbox() as sandbox, make_sandbox_client(sandbox) as bardge:
        before = len(sandbox.ledger("client_abc123"))
        sandbox.cut_before("credits.purchase", times=2)
        async with bardge.idempotent() as once:
            await once.credits.purchase(PURCHASE)
        assert len(sandbox.ledger("client_abc123")) == before + 1
    assert (once.replayed, once.attempts) == (None, 3)


async def test_plain_post_survives_a_cut_too() -> None:
    """Without a block a POST has one key through all its attempts."""
    async with Sandbox() as sandbox, make_sandbox_client(sandbox) as bardge:
        before = len(sandbox.ledger("client_abc123"))
        sandbox.cut_after("credits.purchase", times=3)
        await bardge.credits.purchase(PURCHASE)
        assert len(sandbox.ledger("client_abc123")) == before + 1


async def test_line_that_stays_cut() -> None:
    """If no response ever arrives the outcome is unknown, though the charge was made: once."""
    async with Sandbox() as sandbox, make_sandbox_client(sandbox) as bardge:
        before = len(sandbox.ledger("client_abc123"))
        sandbox.cut_after("credits.purchase", times=99)
        with pytest.raises(OutcomeUnknownError) as caught:
            await bardge.credits.purchase(PURCHASE)
        entries = sandbox.ledger("client_abc123")[before:]
    assert [entry.idempotency_key for entry in entries] == [caught.value.idempotency_key]


async def test_sandbox_errors_arrive_as_ours() -> None:
    """An unknown client is NotFoundError with the server's request id; a disabled account is PermissionDeniedError."""
    async with Sandbox() as sandbox, make_sandbox_client(sandbox) as bardge:
        with pytest.raises(errors.NotFoundError) as unknown:
            await bardge.clients.get_credits("client_nobody")
        with pytest.raises(errors.PermissionDeniedError, match="not enabled"):
            await bardge.with_options(api_key=sandbox.api_keys["disabled"]).clients.get("client_abc123")
        with pytest.raises(errors.AuthenticationError) as wrong:
            await bardge.with_options(api_key="nobody").clients.get("client_abc123")
    assert str(unknown.value.request_id).startswith("req_")
    assert wrong.value.code == "invalid_api_key"


async def test_other_body_under_a_used_key() -> None:
    """A key that the server saw with another body is IdempotencyKeyReusedError, across clients."""
    async with Sandbox() as sandbox, make_sandbox_client(sandbox) as bardge, make_sandbox_client(sandbox) as second:
        await bardge.send("credits.purchase", request=PURCHASE, key="order-1")
        other = PurchaseCredits(client_id="client_abc123", package_id="cpkg_10")
        with pytest.raises(errors.IdempotencyKeyReusedError):
            await second.send("credits.purchase", request=other, key="order-1")


async def test_rotated_key() -> None:
    """A key that was rotated is fetched again, and the call continues."""
    async with Sandbox() as sandbox:
        current = [sandbox.api_key]
        async with BardgeClient(lambda: current[0], sandbox.base_url) as bardge:
            await bardge.clients.get_credits("client_abc123")
            current[0] = sandbox.rotate_key()
            assert (await bardge.clients.get_credits("client_abc123")).balance is not None


async def test_error_object_names_the_field() -> None:
    """A rejected field is named in the error's message."""
    async with Sandbox() as sandbox, make_sandbox_client(sandbox) as bardge:
        with pytest.raises(errors.InvalidRequestError, match="package_id") as caught:
            await bardge.credits.purchase(PurchaseCredits(client_id="client_abc123", package_id=""))
    assert caught.value.code == "validation_error"


async def test_leaked_client_warns() -> None:
    """A client that was used and never closed warns when it is garbage-collected."""
    async with ScriptedServer(error(400)) as server:
        client = BardgeClient("key", server.base_url)
        with pytest.raises(errors.InvalidRequestError):
            await client.clients.get("c")
        with pytest.warns(ResourceWarning, match="unclosed BardgeClient"):
            client.__del__()
        await client.aclose()


async def test_huge_request_is_refused() -> None:
    """A body of over 1 MiB is rejected before anything is sent."""
    async with BardgeClient("key", "http://127.0.0.1:9") as bardge:
        with pytest.raises(errors.InvalidArgumentError, match="more than the limit of 1048576"):
            await bardge.request("POST", "/x", request={"text": "x" * 2**20})
