"""What the doctor says of whole endpoints, of an account, and of a server that cannot be examined."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

import pytest

from bardge_async import BardgeClient
from bardge_async.doctor import Examination, RowStatus, examine
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.doctor.api import (
    PACKAGES,
    Answer,
    always,
    examine_answers,
    examine_packages,
    find_row,
    list_packages,
    play,
    serve,
    wrap,
)
from tests.support.net import Authority, call_back_then, find_refused_port
from tests.support.server import ScriptedServer, Step, cut, error, reply

GOOD: Final = {PACKAGES: list_packages()}


async def test_unknown_path_contradicts() -> None:
    """A 404 contradicts the table while other endpoints answer, and calls for ``paths=``."""
    examination = await examine_answers(GOOD)
    assert find_row(examination, "lookups.list_issuers").contradictions == (
        "lookups.list_issuers: the path does not exist (404)",
    )
    assert any(option.startswith('paths={"lookups.list_issuers": "/..."}') for option in examination.options)


async def test_method_not_allowed_contradicts() -> None:
    """A 405 contradicts the table, too."""
    examination = await examine_answers({**GOOD, "/issuers": lambda _: error(405)})
    assert find_row(examination, "lookups.list_issuers").reason == "the path does not exist (405)"


async def test_paths_of_the_client_are_used() -> None:
    """An endpoint is examined at the path that the client was given."""
    answers = {"/bundles": list_packages()}
    examination = await examine_answers(answers, paths={"credits.list_packages": "/bundles"})
    assert find_row(examination, "credits.list_packages").status is RowStatus.EXAMINED


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
async def test_other_refusals_do_not_contradict(status: int) -> None:
    """A refusal that says nothing about the path leaves the endpoint unexamined."""
    examination = await examine_answers({**GOOD, "/issuers": lambda _: error(status)})
    row = find_row(examination, "lookups.list_issuers")
    assert (row.status, row.contradictions) == (RowStatus.NOT_EXAMINED, ())


@pytest.mark.parametrize("payload", [[], [{"id": "x"}], "text", 1, None])
async def test_no_object(payload: object) -> None:
    """JSON that is no object contradicts an endpoint that answers with one."""
    row = await examine_packages(always(body=b"null") if payload is None else lambda _: reply(payload=payload))
    assert row.contradictions == ("credits.list_packages: the answer is no JSON object",)


async def test_bare_list() -> None:
    """The endpoint that may answer with a plain list is examined with one."""
    examination = await examine_answers({"/classes/categories": lambda _: reply(payload=[{"id": "cat_1"}])})
    row = find_row(examination, "classes.list_categories")
    assert (row.status, row.contradictions) == (RowStatus.EXAMINED, ())


async def test_unknown_client() -> None:
    """A client that does not exist is no contradiction."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        examination = await examine(bardge, client_id="client_nobody")
    assert find_row(examination, "clients.get").reason == "the client does not exist"
    assert examination.contradictions == ()


async def test_client_without_a_pass() -> None:
    """A client without a pass is no contradiction."""
    answers: dict[str, Answer] = {
        **GOOD,
        "/clients/c/credits": always({}),
        "/issued_passes/c": lambda _: error(404, "invalid_request_error", "pass_not_found"),
    }
    row = find_row(await examine_answers(answers, client_id="c"), "passes.get_issued")
    assert (row.status, row.reason) == (RowStatus.NOT_EXAMINED, "the client holds no pass")


async def test_no_id() -> None:
    """An endpoint whose id no other answer has is not examined, and says so."""
    answers = {**GOOD, "/classes": always({**wrap([]), "url": "/classes"})}
    row = find_row(await examine_answers(answers), "classes.get")
    assert row.reason == "no id: classes.list returned none"


async def test_nothing_answers() -> None:
    """Where no endpoint answers at all, the base URL is wrong, not every path."""
    examination = await examine_answers({})
    assert not examination.connected
    assert examination.account.text == "no endpoint answers as the API does: check the base URL"
    assert examination.contradictions == ()


REFUSED: Final[dict[str, tuple[Step, str]]] = {
    "wrong key": (error(401, "authentication_error", "invalid_api_key"), "refused: invalid_api_key"),
    "disabled": (error(403, "permission_error", "account_disabled"), "refused: account_disabled"),
    "without a code": (reply(401, {}), "refused: 401"),
    "no API": (reply(200, body=b"<html>"), "cannot connect: lookups.list_issuers: no usable response"),
    "always 500": (error(500), "no endpoint gives a usable answer"),
    "always 403": (error(403), "no endpoint gives a usable answer"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_no_account(name: str) -> None:
    """Where the key is refused, or nothing usable answers, the account says why and nothing is contradicted."""
    step, text = REFUSED[name]
    examination = await examine_answers({}, otherwise=step)
    assert examination.account.text.startswith(text)
    assert (examination.connected, examination.contradictions) == (False, ())


@pytest.mark.parametrize("step", [cut(), error(401, "authentication_error", "invalid_api_key"), reply(body=b"<html>")])
async def test_few_requests_without_a_connection(step: Step) -> None:
    """A server that cannot be examined gets a handful of requests."""
    async with ScriptedServer(step) as server, BardgeClient("test-key", server.base_url) as bardge:
        await examine(bardge, client_id="c")
    assert len(server.requests) <= 6


async def test_nothing_listens() -> None:
    """Where nothing listens, the examination ends within seconds."""
    started_at = time.monotonic()
    async with BardgeClient("test-key", f"http://127.0.0.1:{find_refused_port()}") as bardge:
        examination = await examine(bardge)
    assert examination.account.text.startswith("cannot connect: ClientConnectorError")
    assert time.monotonic() - started_at < 10


async def test_server_that_never_answers() -> None:
    """A server that accepts and never answers ends the examination at the first endpoint."""
    clock = ManualClock()
    async with (
        ScriptedServer(call_back_then(lambda: clock.advance(25))) as server,
        BardgeClient("test-key", server.base_url, clock=clock) as bardge,
    ):
        examination = await examine(bardge)
    assert not examination.connected
    assert len(server.requests) == 1


async def test_rate_limit() -> None:
    """After a 429 no further endpoint is asked."""
    answers: dict[str, Answer] = {"/passes": always(wrap([])), "/providers": lambda _: error(429)}
    async with serve(answers) as server, BardgeClient("test-key", server.base_url, clock=ManualClock()) as bardge:
        examination = await examine(bardge)
    assert find_row(examination, "lookups.list_issuers").reason == "the server limits the rate (429)"
    assert "/issuers" not in {request.path for request in server.requests}


async def test_server_that_stops_answering() -> None:
    """After two endpoints without an answer in time, no further one is asked."""
    clock = ManualClock()
    silent = call_back_then(lambda: clock.advance(25))
    answers: dict[str, Answer] = {
        "/passes": always(wrap([])),
        "/classes": lambda _: silent,
        "/providers": lambda _: silent,
    }
    async with serve(answers) as server, BardgeClient("test-key", server.base_url, clock=clock) as bardge:
        examination = await examine(bardge)
    assert find_row(examination, "lookups.list_issuers").reason == "the server no longer answers in time"
    assert "/issuers" not in {request.path for request in server.requests}


async def test_certificate_of_an_own_authority() -> None:
    """With the client's own trust, the examination goes on, and TLS is not judged by the system's."""
    authority = Authority()
    async with (
        ScriptedServer(play(GOOD), tls=authority.server) as server,
        BardgeClient("test-key", server.base_url, ssl=authority.make_client_context()) as bardge,
    ):
        examination = await examine(bardge)
    assert examination.connected
    assert find_check(examination, "TLS") == (
        None,
        "only the client connects; without its options: SSLCertVerificationError",
    )


async def test_untrusted_certificate() -> None:
    """A certificate that nobody trusts is a fault, and nothing is sent."""
    async with ScriptedServer(tls=Authority().server) as server, BardgeClient("k", server.base_url) as bardge:
        examination = await examine(bardge)
    assert find_check(examination, "TLS")[0] is False
    assert not examination.connected


async def test_trusted_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A trusted certificate is shown with its version and last day."""
    authority = Authority()
    authority.write_certificate(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with ScriptedServer(play(GOOD), tls=authority.server) as server, BardgeClient("k", server.base_url) as bardge:
        examination = await examine(bardge)
    ok, text = find_check(examination, "TLS")
    assert ok is True
    assert re.fullmatch(r"TLSv1\.3; the certificate is valid until \d{4}-\d\d-\d\d", text)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".example"])
async def test_unknown_host(host: str) -> None:
    """A host that cannot be resolved is a fault of DNS, not an exception."""
    async with BardgeClient("test-key", f"https://{host}") as bardge:
        examination = await examine(bardge)
    assert find_check(examination, "DNS")[0] is False
    assert not examination.connected


def find_check(examination: Examination, name: str) -> tuple[bool | None, str]:
    return next((check.ok, check.text) for check in examination.machine if check.name == name)


async def test_clock_without_date() -> None:
    """A server without ``Date`` leaves the clock unjudged."""
    examination = await examine_answers(GOOD)
    assert find_check(examination, "clock") == (None, "the server sends no Date")


@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_clock_far_off(date: str) -> None:
    """A server's clock far from ours is a fault: the 90 seconds are judged by it."""
    ok, text = find_check(await examine_answers({PACKAGES: list_packages(Date=date)}), "clock")
    assert ok is False
    assert "set the clock" in text


@pytest.mark.parametrize("date", ["", "soon", "Thu, 99 Jan 1970", "x" * 10_000])
async def test_clock_with_a_wrong_date(date: str) -> None:
    """A ``Date`` that is none leaves the clock unjudged."""
    assert find_check(await examine_answers({PACKAGES: list_packages(Date=date)}), "clock")[0] is None
