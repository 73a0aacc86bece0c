"""``/_sandbox/`` controls the sandbox for other processes, and for no web page."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from bardge_async.sandbox import Sandbox

BUY = "/credit_purchases"
READS = ["", "clock", "faults", "requests", "idempotency", "ledger"]
CHANGES: dict[str, Any] = {
    "clock": {"advance": 91},
    "faults": {"script": [{"kind": "cut_after"}]},
    "requests": {"clear": True},
    "idempotency": {"clear": True},
    "reset": {},
}


async def send_control(raw: Any, name: str, change: object = None, **options: Any) -> tuple[int, Any]:
    """Read a control, or change it."""
    method = "GET" if change is None else "POST"
    url = f"{raw.sandbox.control_url}/{name}"
    async with raw.session.request(method, url, json=change, **options) as response:
        return response.status, await response.json()


def get_host(raw: Any) -> str:
    """Return host and port."""
    url: str = raw.sandbox.base_url
    return urlsplit(url).netloc


async def test_overview(raw: Any) -> None:
    """The root says where the API is and with which keys."""
    _, said = await send_control(raw, "")
    assert (said["base_url"], said["api_keys"]) == (raw.sandbox.base_url, dict(raw.sandbox.api_keys))


async def test_clock(raw: Any) -> None:
    """The clock is read and advanced."""
    before = raw.sandbox.clock.wall()
    _, said = await send_control(raw, "clock", {"advance": 91})
    assert said["wall"] == pytest.approx(before + 91, abs=2)
    assert dt.datetime.fromisoformat(said["now"]).timestamp() == pytest.approx(said["wall"], abs=1)


async def test_moved_clock_forgets_keys(raw: Any, buy: Any) -> None:
    """Advancing the clock by HTTP closes a key's window."""
    await raw.post(BUY, buy, key="order-1")
    await send_control(raw, "clock", {"advance": 91})
    assert not (await raw.post(BUY, buy, key="order-1")).replayed


async def test_faults_by_script(raw: Any) -> None:
    """Faults are scripted, listed and applied."""
    fault = {"kind": "status", "status": 503, "endpoint": "passes.list", "times": 2}
    _, said = await send_control(raw, "faults", {"script": [fault]})
    assert (said["pending"], (await raw.get("/passes")).status) == ([fault], 503)


async def test_faults_at_random_and_cleared(raw: Any) -> None:
    """Random faults are set with what to draw from, and everything is cleared before more is added."""
    dice = {"rate": 1, "seed": 7, "faults": [{"kind": "status", "status": 500}], "endpoint": "passes.list"}
    _, said = await send_control(raw, "faults", {"random": dice})
    failed = (await raw.get("/passes")).status
    _, cleared = await send_control(raw, "faults", {"clear": True})
    assert (said["random"]["rate"], said["random"]["seed"], failed, cleared) == (
        1,
        7,
        500,
        {"pending": [], "random": None},
    )


async def test_random_faults_need_no_list(raw: Any) -> None:
    """Rate and seed are enough for random faults."""
    _, said = await send_control(raw, "faults", {"random": {"rate": 0.1, "seed": 7}})
    assert len(said["random"]["faults"]) > 3


async def test_request_log(raw: Any, buy: Any) -> None:
    """The log holds requests without credentials and without those for control, and can be emptied."""
    await raw.post(BUY, buy, key="order-1")
    _, said = await send_control(raw, "requests")
    (seen,) = said["requests"]
    _, empty = await send_control(raw, "requests", {"clear": True})
    assert (seen["endpoint"], seen["status"], seen["idempotency_key"], raw.sandbox.api_key in str(seen), empty) == (
        "credits.purchase",
        201,
        "order-1",
        False,
        {"requests": []},
    )


async def test_request_log_holds_odd_bytes(raw: Any) -> None:
    """A header that is not UTF-8 does not break the log."""
    reader, writer = await asyncio.open_connection(*get_host(raw).split(":"))
    own = f"Host: {get_host(raw)}\r\nAuthorization: Bearer {raw.sandbox.api_key}\r\n".encode()
    odd = b"X-Odd: \xff\xfe\r\nIdempotency-Key: \xe9\r\n"
    writer.write(b"GET /x HTTP/1.1\r\n" + own + odd + b"Connection: close\r\n\r\n")
    await reader.read()
    writer.close()
    status, said = await send_control(raw, "requests")
    assert (status, said["requests"][-1]["headers"]["X-Odd"]) == (200, "??")


async def test_idempotency_store(raw: Any, buy: Any) -> None:
    """The store lists what it replays, and can be emptied."""
    made = await raw.post(BUY, buy, key="order-1")
    _, said = await send_control(raw, "idempotency")
    (kept,) = said["kept"]
    _, empty = await send_control(raw, "idempotency", {"clear": True})
    again = await raw.post(BUY, buy, key="order-1")
    assert (kept["key"], kept["answer"].encode(), empty["kept"], again.replayed) == ("order-1", made.body, [], False)


async def test_ledger(raw: Any, buy: Any) -> None:
    """The ledger lists a client's entries, the account's, and another reseller's."""
    await raw.post(BUY, buy, key="order-1")
    _, credits = await send_control(raw, "ledger", params={"client_id": "client_abc123"})
    _, account = await send_control(raw, "ledger")
    _, other = await send_control(raw, "ledger", params={"reseller": "zuma_bank"})
    newest = credits["entries"][-1]
    assert (newest["amount"], newest["idempotency_key"], len(account["entries"]), other["entries"]) == (
        "50",
        "order-1",
        1,
        [],
    )


async def test_reset(raw: Any, buy: Any) -> None:
    """A reset restores the initial data and keys, and clears everything else."""
    key = raw.sandbox.api_key
    await raw.post(BUY, buy, key="order-1")
    raw.sandbox.rotate_key()
    raw.sandbox.cut_before()
    status, _ = await send_control(raw, "reset", {})
    sandbox = raw.sandbox
    left = (sandbox.account(), sandbox.requests, sandbox.kept_answers, sandbox.faults.pending)
    assert (status, left, sandbox.api_key) == (200, ((), (), (), ()), key)
    assert (await raw.post(BUY, buy, key="order-1")).json["balance"] == 75


async def test_reset_of_a_file(sandboxed: Any, buy: Any, tmp_path: Any) -> None:
    """A sandbox with a file is reset, too, and the file holds the initial data."""
    async with sandboxed(db=tmp_path / "state.db") as raw:
        await raw.post(BUY, buy)
        raw.sandbox.reset()
        assert raw.sandbox.account() == ()
    async with sandboxed(db=tmp_path / "state.db") as raw:
        assert (await raw.post(BUY, buy)).json["balance"] == 75


async def test_controls_take_no_faults(raw: Any) -> None:
    """A fault for any request does not hit the controls."""
    raw.sandbox.cut_before(times=5)
    assert ((await send_control(raw, "clock"))[0], raw.sandbox.faults.pending[0].times) == (200, 5)


WRONG: list[tuple[str, Any]] = [
    ("clock", []),
    ("clock", {}),
    ("clock", {"advance": -1}),
    ("clock", {"advance": "91"}),
    ("clock", {"advance": True}),
    ("clock", {"back": 5}),
    ("faults", {"script": {}}),
    ("faults", {"script": [5]}),
    ("faults", {"script": [{}]}),
    ("faults", {"script": [{"kind": "melt"}]}),
    ("faults", {"script": [{"kind": "cut_after", "colour": "red"}]}),
    ("faults", {"script": [{"kind": "cut_after", "endpoint": "x"}]}),
    ("faults", {"random": {"rate": 1}}),
    ("faults", {"random": {"rate": 2, "seed": 1}}),
    ("faults", {"random": {"rate": 0.5, "seed": "x"}}),
    ("requests", {"clear": False}),
    ("reset", {"all": True}),
]


@pytest.mark.parametrize(("name", "change"), WRONG, ids=str)
async def test_wrong_change_is_400(raw: Any, name: str, change: object) -> None:
    """An invalid control request is rejected with an explanation, and changes nothing."""
    status, said = await send_control(raw, name, change)
    assert (status, bool(said["error"]["message"]), raw.sandbox.faults.pending) == (400, True, ())


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"", 400), (b'{"advance": 1}', 200)])
async def test_body_is_json(raw: Any, body: bytes, status: int) -> None:
    """JSON with a charset is accepted, broken JSON is rejected."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    async with raw.session.post(f"{raw.sandbox.control_url}/clock", data=body, headers=headers) as response:
        assert response.status == status


@pytest.mark.parametrize("query", [{"client_id": "nobody"}, {"reseller": "nobody"}, {"client": "client_abc123"}])
async def test_wrong_query_is_400(raw: Any, query: dict[str, str]) -> None:
    """The ledger of an unknown client or reseller is an error."""
    assert (await send_control(raw, "ledger", params=query))[0] == 400


@pytest.mark.parametrize(("method", "name", "status"), [("PUT", "clock", 405), ("POST", "ledger", 405)])
async def test_wrong_method(raw: Any, method: str, name: str, status: int) -> None:
    """GET reads, POST changes, other methods are rejected."""
    async with raw.session.request(method, f"{raw.sandbox.control_url}/{name}", json={}) as response:
        assert response.status == status


@pytest.mark.parametrize(("name", "status"), [("nope", 404), ("reset", 405)])
async def test_what_cannot_be_read(raw: Any, name: str, status: int) -> None:
    """An unknown control is a 404, a reset by GET a 405."""
    assert (await send_control(raw, name))[0] == status


@pytest.mark.parametrize("name", CHANGES)
async def test_cross_origin_form_is_refused(raw: Any, name: str) -> None:
    """A form that a browser posts from another site changes nothing."""
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    before = raw.sandbox.clock.wall()
    async with raw.session.post(f"{raw.sandbox.control_url}/{name}", data={"a": "b"}, headers=headers) as response:
        status = response.status
    assert (status, raw.sandbox.clock.wall() < before + 60) == (403, True)


FORMS: list[dict[str, str]] = [
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Type": "text/plain; application/json"},
    {"Content-Type": "application/jsonp"},
]


@pytest.mark.parametrize("headers", FORMS, ids=lambda headers: headers["Content-Type"])
async def test_only_json_changes(raw: Any, headers: dict[str, str]) -> None:
    """JSON under a content type that a form can send is rejected even without an origin."""
    url = f"{raw.sandbox.control_url}/faults"
    async with raw.session.post(url, data=b'{"script": [{"kind": "cut_after"}]}', headers=headers) as response:
        status = response.status
    assert (status, raw.sandbox.faults.pending) == (415, ())


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example:80"},
        {"Host": "evil.example@127.0.0.1"},
        {"Host": ""},
        {"Host": "127.0.0.1:x"},
        {"Host": "10.0.0.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", READS)
async def test_web_page_cannot_read(raw: Any, name: str, headers: dict[str, str]) -> None:
    """A foreign origin, or a host name that was rebound to this machine, reads nothing."""
    assert (await send_control(raw, name, headers=headers))[0] == 403


async def test_rebound_host_cannot_change(raw: Any) -> None:
    """A page whose host name was rebound has the same origin, and is rejected for its host name."""
    port = get_host(raw).rpartition(":")[2]
    headers = {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}", "Sec-Fetch-Site": "same-origin"}
    for name, change in CHANGES.items():
        assert (await send_control(raw, name, change, headers=headers))[0] == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:80", "[::1]:9", "127.1.2.3"])
async def test_this_machine_may(raw: Any, host: str) -> None:
    """Every name of loopback is accepted, and so is a page of the sandbox's own origin."""
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert (await send_control(raw, "clock", {"advance": 1}, headers=headers))[0] == 200


async def test_bound_name_may() -> None:
    """A sandbox that was bound to another name or address answers to that, and to no third one."""
    async with Sandbox(host="0.0.0.0") as sandbox, aiohttp.ClientSession() as session:  # noqa: S104 - what the test is about
        url = sandbox.control_url.replace("0.0.0.0", "127.0.0.1") + "/clock"  # noqa: S104 - the same
        statuses: list[int] = []
        for host in ("0.0.0.0:1", "example.com"):
            async with session.get(url, headers={"Host": host}) as response:
                statuses.append(response.status)
    assert statuses == [200, 403]
