"""Any plain HTTP client sees the documented envelope: auth, ids, error objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from bardge_async.errors import ConfigurationError, InvalidArgumentError
from bardge_async.sandbox import Fault, Sandbox, _server, serve

BUY = "/credit_purchases"


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer wrong", "Basic {key}", "{key}"], ids=["none", "empty", "wrong", "basic", "bare"]
)
async def test_wrong_key_is_401(raw: Any, value: str) -> None:
    """Only a known bearer token is accepted."""
    header = value.format(key=raw.sandbox.api_key)
    reply = await raw.send("GET", "/passes", headers={"Authorization": header})
    assert (reply.status, reply.error["type"], reply.error["code"]) == (401, "authentication_error", "invalid_api_key")


async def test_disabled_account_is_403(raw: Any) -> None:
    """A key of a disabled account is rejected as documented."""
    reply = await raw.get("/passes", api_key=raw.sandbox.api_keys["disabled"])
    assert (reply.status, reply.error["type"], reply.error["code"]) == (403, "permission_error", "account_disabled")


async def test_rotating_a_key_kills_the_old_one(raw: Any) -> None:
    """After a rotation only the new key works."""
    old = raw.sandbox.api_key
    new = raw.sandbox.rotate_key()
    assert [(await raw.get("/passes", api_key=key)).status for key in (old, new)] == [401, 200]


@pytest.mark.parametrize(("method", "path"), [("GET", "/nope"), ("DELETE", "/passes"), ("POST", "/passes")])
async def test_unknown_route_is_404(raw: Any, method: str, path: str) -> None:
    """An unknown URL gets the error object, too."""
    reply = await raw.send(method, path)
    assert (reply.status, reply.error["code"]) == (404, "resource_not_found")


@pytest.mark.parametrize("path", ["/passes", "/nope", "/passes?limit=0"])
async def test_every_answer_has_a_request_id(raw: Any, path: str) -> None:
    """Success or error, the request id header is present."""
    assert (await raw.get(path)).headers["Bardge-Request-Id"].startswith("req_")


async def test_error_repeats_the_request_id(raw: Any) -> None:
    """``error.request_id`` equals the header."""
    reply = await raw.get("/clients/nobody")
    assert reply.error["request_id"] == reply.headers["Bardge-Request-Id"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b"nan"])
async def test_broken_json_is_400(raw: Any, body: bytes) -> None:
    """A body that is no JSON object is a validation error."""
    reply = await raw.post(BUY, body)
    assert (reply.status, reply.error["code"]) == (400, "validation_error")


@pytest.mark.parametrize("value", [None, 5, "", " ", ["client_abc123"], {}, True])
async def test_wrong_field_is_named(raw: Any, value: object) -> None:
    """A missing field or one of another type is a validation error that names it."""
    reply = await raw.post(BUY, {"client_id": value, "package_id": "cpkg_50"})
    assert (reply.status, reply.error["type"], reply.error["message"][:10]) == (
        400,
        "invalid_request_error",
        "client_id:",
    )


async def test_too_large_body_is_an_error_object(raw: Any) -> None:
    """Even an error of the HTTP layer is sent as an error object."""
    reply = await raw.send("POST", BUY, data=BytesIO(b"x" * 2_000_000))
    assert (reply.status, reply.error["type"]) == (413, "invalid_request_error")


@pytest.mark.parametrize("id", ["nobody", "a/b", "a%20b", "zażółć", "?x"])
async def test_unknown_client_is_404(raw: Any, id: str) -> None:
    """An unknown id of any characters is a 404 that quotes it."""
    reply = await raw.get("/clients/" + quote(id, safe=""))
    assert (reply.status, id in reply.error["message"]) == (404, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/passes/none/providers"),
        ("GET", "/classes/none"),
        ("GET", "/clients/none/bookings"),
        ("GET", "/clients/none/credits"),
        ("GET", "/issued_passes/client_no_pass"),
        ("GET", "/bookings/none"),
        ("GET", "/providers/prov_spa_premium/gym-copay-options"),
        ("POST", "/bookings/none/cancel"),
        ("POST", "/bookings/none/reschedule"),
        ("POST", "/bookings/spa/none/confirm"),
        ("POST", "/bookings/class/none/confirm"),
        ("POST", "/issued_passes/none/expiry"),
    ],
)
async def test_unknown_path_argument_is_404(raw: Any, method: str, path: str) -> None:
    """Every resource that the path names must exist."""
    reply = await raw.send(method, path, json={"expiry_date": "2099-12-31"})
    assert (reply.status, reply.error["code"]) in ((404, "resource_not_found"), (404, "pass_not_found"))


async def test_failed_request_changes_nothing(raw: Any) -> None:
    """A purchase that is refused halfway leaves balance and ledger unchanged."""
    await raw.post(BUY, {"client_id": "client_abc123", "package_id": "cpkg_none"})
    assert len(raw.sandbox.ledger("client_abc123")) == 2


async def test_resellers_are_isolated(raw: Any) -> None:
    """What one reseller creates, another may not see."""
    made = await raw.post("/bookings/class", {"class_instance_id": "ci_abc123", "client_id": "client_abc123"})
    other = raw.sandbox.api_keys["zuma_bank"]
    assert (await raw.get(f"/bookings/{made.json['booking_id']}", api_key=other)).status == 403


async def test_requests_are_recorded_without_the_key(raw: Any) -> None:
    """The record holds what was sent, but no credentials."""
    await raw.post(BUY, {"client_id": "client_abc123", "package_id": "cpkg_50"}, key="order-1")
    (seen,) = raw.sandbox.requests
    assert (seen.endpoint, seen.idempotency_key, seen.status, "Authorization" in seen.headers) == (
        "credits.purchase",
        "order-1",
        201,
        False,
    )


async def test_cut_requests_are_recorded_without_a_status(raw: Any) -> None:
    """A connection that was cut has no status."""
    raw.sandbox.cut_before()
    with pytest.raises(aiohttp.ClientError):
        await raw.post(BUY, {})
    assert [seen.status for seen in raw.sandbox.requests] == [None]


async def test_faults_hit_their_row_only(raw: Any) -> None:
    """A fault for one endpoint leaves the others alone and stays pending."""
    raw.sandbox.faults.script([Fault(kind="cut_after", endpoint="credits.purchase", times=2)])
    assert ((await raw.get("/passes")).status, raw.sandbox.faults.pending[0].times) == (200, 2)


@pytest.mark.parametrize(
    "wrong", [{"kind": "melt"}, {"kind": "cut_after", "endpoint": "x"}, {"kind": "cut_after", "times": 0}]
)
async def test_wrong_fault_is_refused(wrong: Any) -> None:
    """A fault that could never apply is an error of the test that scripts it."""
    with pytest.raises(InvalidArgumentError):
        Fault(**wrong)


@pytest.mark.parametrize("wrong", [{"window": -1}, {"window_from": "later"}, {"latency": -1}, {"resellers": 0}])
async def test_wrong_setting_is_refused(wrong: Any) -> None:
    """A setting out of its range is rejected immediately."""
    with pytest.raises(ConfigurationError):
        Sandbox(**wrong)


async def test_sandbox_must_run() -> None:
    """Reading a sandbox that does not run raises an error that says what to do."""
    with pytest.raises(InvalidArgumentError, match="async with"):
        _ = Sandbox().api_key


UNKNOWN: list[Callable[[Sandbox], object]] = [
    lambda sandbox: sandbox.ledger("nobody"),
    lambda sandbox: sandbox.ledger("client_abc123", reseller="nobody"),
    lambda sandbox: sandbox.account("nobody"),
    lambda sandbox: sandbox.lookup_code("nobody"),
]


@pytest.mark.parametrize("ask", UNKNOWN, ids=["client", "reseller", "account", "lookup"])
async def test_unknown_names_are_refused(raw: Any, ask: Any) -> None:
    """The ledger of an unknown client is an error, not an empty list."""
    with pytest.raises(InvalidArgumentError, match="nobody"):
        ask(raw.sandbox)


async def test_other_resellers_ledger_can_be_read(raw: Any) -> None:
    """Every account has its own clients and entries."""
    raw_entries = raw.sandbox.ledger("client_abc123", reseller="zuma_bank")
    assert {entry.client_id for entry in raw_entries} == {"client_abc123"}


async def test_faults_can_be_forgotten(raw: Any) -> None:
    """After ``clear`` no fault is applied any more."""
    raw.sandbox.cut_before(times=5)
    raw.sandbox.faults.clear()
    assert (await raw.get("/passes")).status == 200


async def test_taken_port_is_an_error_and_leaks_nothing(raw: Any) -> None:
    """A second sandbox on the same port fails, and closes what it had opened."""
    port = URL(raw.sandbox.base_url).port
    with pytest.raises(OSError, match="in use"):
        async with Sandbox(port=port or 0):
            pass


async def test_serve_tells_when_it_is_ready() -> None:
    """``serve`` yields the sandbox once it answers, and ends when cancelled."""
    ready: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve(Sandbox(), ready.set_result))
    sandbox = await ready
    async with aiohttp.ClientSession() as session, session.get(sandbox.base_url + "/passes") as response:
        status = response.status
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert status == 401


async def test_latency_goes_by_the_sandbox_clock(sandboxed: Any) -> None:
    """An hour of latency passes when the clock is advanced."""
    async with sandboxed(latency=3600) as raw:
        task = asyncio.ensure_future(raw.get("/passes"))
        while not task.done():
            await asyncio.sleep(0.002)
            raw.sandbox.clock.advance(600)
        assert (await task).status == 200


async def test_fault_of_a_behaviour_is_an_api_error(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of the sandbox is the documented 500, and the server continues."""
    monkeypatch.setattr(_server, "BEHAVIOURS", {})
    reply = await raw.get("/passes")
    assert (reply.status, reply.error["type"], reply.error["code"]) == (500, "api_error", "internal_error")
