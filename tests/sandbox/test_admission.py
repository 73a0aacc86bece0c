"""A request is admitted before it can use up a fault, enter the log, or change anything; a malformed one is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from yarl import URL

from bardge_async import BardgeClient, PurchaseCredits
from bardge_async.sandbox import Fault, Sandbox

BUY = "/credit_purchases"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the tests are about
FOREIGN = {
    "no key": {"Authorization": ""},
    "wrong key": {"Authorization": "Bearer wrong"},
    "foreign host": {"Host": "evil.example"},
    "rebound host": {"Host": "127.0.0.1.evil.example"},
    "foreign origin": {"Origin": "https://evil.example"},
    "null origin": {"Origin": "null"},
    "other port": {"Origin": "http://127.0.0.1:8080"},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "same-site": {"Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_refused_request_changes_nothing(raw: Any, buy: Any, headers: dict[str, str]) -> None:
    """Without the key, or from a web page, a request uses up no fault, is no call in the log, and charges nothing."""
    raw.sandbox.cut_after()
    reply = await raw.send("POST", BUY, json=buy, headers={**headers, "Idempotency-Key": "order-1"})
    sandbox = raw.sandbox
    assert (reply.status in {401, 403}, "request_id" in reply.error) == (True, True)
    assert (len(sandbox.faults.pending), sandbox.requests, sandbox.kept_answers, sandbox.account()) == (1, (), (), ())


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_refused_request_counts_towards_no_limit(raw: Any, headers: dict[str, str]) -> None:
    """A limit counts only calls, so that a health check cannot use it up."""
    raw.sandbox.faults.script([Fault(kind="limit", rate=1)])
    await raw.send("GET", "/passes", headers=headers)
    assert (await raw.get("/passes")).status == 200


async def test_scripted_fault_waits_for_the_tests_own_call() -> None:
    """A page of another site does not take the fault that a test is about."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        sandbox.cut_after("credits.purchase")
        page = f"POST {URL(sandbox.base_url).path}{BUY} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        await send_raw(sandbox, page.encode())
        async with bardge.idempotent("order-1") as once:
            await once.credits.purchase(PurchaseCredits(client_id="client_abc123", package_id="cpkg_50"))
        assert (once.attempts, once.replayed) == (2, "server")


async def test_fault_hits_whoever_has_a_key(raw: Any) -> None:
    """A disabled account and an unknown path are calls: faults apply to them, and the log shows them."""
    raw.sandbox.faults.script([Fault(kind="status", status=503, times=2)])
    replies = [
        await raw.get("/passes", api_key=raw.sandbox.api_keys["disabled"]),
        await raw.get("/nope"),
    ]
    assert ([reply.status for reply in replies], len(raw.sandbox.requests)) == ([503, 503], 2)


async def test_other_programs_reach_an_open_sandbox_by_any_name(sandboxed: Any) -> None:
    """Bound to all addresses, a container's name is a good ``Host``."""
    async with sandboxed(host=EVERYWHERE) as raw:
        assert (await raw.send("GET", "/passes", headers={"Host": "sandbox:8765"})).status == 200


async def test_pages_do_not_reach_an_open_sandbox(sandboxed: Any, buy: Any) -> None:
    """Bound to all addresses, a rebound page's POST is still refused: it sends its origin."""
    async with sandboxed(host=EVERYWHERE) as raw:
        headers = {"Host": "evil.example:8765", "Origin": "http://evil.example:8765"}
        reply = await raw.send("POST", BUY, json=buy, headers=headers)
        assert (reply.status, raw.sandbox.account()) == (403, ())


async def send_raw(sandbox: Sandbox, data: bytes) -> bytes:
    """Send bytes and read the answer."""
    url = URL(sandbox.base_url)
    assert url.host is not None
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(data)
    found = await reader.read()
    writer.close()
    return found


MALFORMED = {
    "gzip": b"POST {path} HTTP/1.1\r\n{own}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "deflate": b"POST {path} HTTP/1.1\r\n{own}Content-Encoding: deflate\r\nContent-Length: 2\r\n\r\n{}",
    "chunk": b"POST {path} HTTP/1.1\r\n{own}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "two lengths": b"POST {path} HTTP/1.1\r\n{own}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "header without colon": b"POST {path} HTTP/1.1\r\n{own}nonsense\r\n\r\n",
    "header with NUL": b"POST {path} HTTP/1.1\r\n{own}X: a\x00b\r\n\r\n",
    "long header": b"POST {path} HTTP/1.1\r\n{own}X: " + b"a" * 20_000 + b"\r\n\r\n",
    "no HTTP": b"\x16\x03\x01 hello\r\n\r\n",
    "no path": b"GET nonsense HTTP/1.1\r\n{own}\r\n",
    "key that is no text": b"POST {path} HTTP/1.1\r\n{own}Idempotency-Key: \xff\r\nContent-Length: 2\r\n\r\n{}",
    "unknown expectation": b"POST {path} HTTP/1.1\r\n{own}Expect: miracles\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_request_is_an_error_object(
    raw: Any, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What breaks HTTP's rules is answered with the API's error object, and logged without a traceback."""
    caplog.set_level("INFO")
    url = URL(raw.sandbox.base_url)
    own = f"Host: {url.authority}\r\nConnection: close\r\nAuthorization: Bearer {raw.sandbox.api_key}\r\n"
    data = request_bytes.replace(b"{path}", f"{url.path}{BUY}".encode()).replace(b"{own}", own.encode())
    head, _, body = (await send_raw(raw.sandbox, data)).partition(b"\r\n\r\n")
    assert head.split()[1] in {b"400", b"417"}
    assert orjson.loads(body)["error"]["type"] == "invalid_request_error"
    assert [record.exc_info for record in caplog.records if record.exc_info] == []


async def test_malformed_control_request_is_answered(raw: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The controls answer a body that cannot be read, too."""
    url = raw.sandbox.control_url + "/clock"
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with raw.session.post(url, data=b"no gzip", headers=headers) as response:
        said = await response.json()
    assert (response.status, "gzip" in said["error"]["message"], caplog.records) == (400, True, [])
