"""``bardge doctor``: what it prints and writes, its exit codes, and that the key is in none of it."""

from __future__ import annotations

import html.parser
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from click.testing import Result

from bardge_async import BardgeClient
from bardge_async.doctor import examine
from bardge_async.sandbox import Sandbox
from tests.doctor.api import PACKAGES, Answer, always, change_item, list_packages, make_packages, play, wrap
from tests.support.canary import CANARY, find_canary, holds_canary
from tests.support.cli import run_bardge
from tests.support.net import find_refused_port
from tests.support.server import Received, ScriptedServer, Step, error, reply

CLIENT: Final = "client_abc123"
Doctor = Callable[..., Result]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the user's own settings and folders out."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("BARDGE_API_KEY", "BARDGE_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)


async def run_in_thread(base_url: str, api_key: str, *arguments: object) -> Result:
    """Run ``bardge doctor`` while this loop serves."""
    os.environ.update(BARDGE_BASE_URL=base_url, BARDGE_API_KEY=api_key)
    return await anyio.to_thread.run_sync(lambda: run_bardge("doctor", *arguments))


async def run_against_step(step: Step, *arguments: object, api_key: str = CANARY) -> Result:
    """Run ``bardge doctor`` against a scripted server."""
    async with ScriptedServer(step) as server:
        return await run_in_thread(server.base_url, api_key, *arguments)


async def run_against_answers(answers: dict[str, Answer], *arguments: object) -> Result:
    """Run ``bardge doctor`` against these answers."""
    return await run_against_step(play(answers), *arguments)


async def run_against_sandbox(*arguments: object, drift: int | None = None) -> Result:
    """Run ``bardge doctor`` against a sandbox."""
    async with Sandbox(drift=drift) as sandbox:
        return await run_in_thread(sandbox.base_url, sandbox.api_key, *arguments)


@pytest.mark.parametrize("arguments", [[], ["--client", CLIENT], ["--json"], ["--client", CLIENT, "--json"]])
async def test_sandbox(arguments: list[str]) -> None:
    """Against the sandbox the exit code is 0."""
    assert (await run_against_sandbox(*arguments)).exit_code == 0


async def test_contradictions() -> None:
    """With contradictions the exit code is 3, and each is listed."""
    result = await run_against_answers({PACKAGES: always(wrap(change_item(make_packages(1), "credits", "x")))})
    assert result.exit_code == 3
    assert "data[].credits: expected number, found string" in result.output
    assert "lookups.list_issuers (guide): the path does not exist (404)" in result.output


UNUSABLE: Final[dict[str, Step]] = {
    "key refused": error(401, "authentication_error", "invalid_api_key"),
    "account disabled": error(403, "permission_error", "account_disabled"),
    "no API": reply(body=b"<html>hello</html>"),
    "another API": error(404),
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_unusable(name: str) -> None:
    """Where nothing can be examined, the exit code is 1, and standard output is still one JSON document."""
    result = await run_against_step(UNUSABLE[name], "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["connected"], document["contradictions"]) == (False, [])


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing listens, the exit code is 1 and the document says so."""
    monkeypatch.setenv("BARDGE_BASE_URL", f"http://127.0.0.1:{find_refused_port()}")
    monkeypatch.setenv("BARDGE_API_KEY", CANARY)
    result = run_bardge("doctor", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["account"]["text"].startswith("cannot connect: ")


SETTINGS: Final[dict[str, tuple[dict[str, str], str, str]]] = {
    "no key": ({}, "API key", "not found: set BARDGE_API_KEY"),
    "invalid key": ({"BARDGE_API_KEY": f"{CANARY}\n"}, "API key", "found in BARDGE_API_KEY"),
    "invalid base URL": (
        {"BARDGE_API_KEY": CANARY, "BARDGE_BASE_URL": "ftp://example.com"},
        "base URL",
        "from BARDGE_BASE_URL: ",
    ),
    "key as base URL": ({"BARDGE_API_KEY": CANARY, "BARDGE_BASE_URL": CANARY}, "base URL", "from BARDGE_BASE_URL: "),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without usable settings nothing is sent: exit code 1, one document that says what to set, and no key in it."""
    variables, check, text = SETTINGS[name]
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    result = run_bardge("doctor", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert next(one["text"] for one in document["machine"] if one["name"] == check).startswith(text)
    assert document["account"]["text"].startswith("nothing was sent: ")
    assert not holds_canary(result.output)


async def test_document() -> None:
    """The document is plain JSON with machine, account, rows, contradictions and options."""
    result = await run_against_answers({PACKAGES: list_packages()}, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 3
    assert [*document] == ["version", "connected", "machine", "account", "rows", "contradictions", "options"]
    row = next(one for one in document["rows"] if one["endpoint"] == "credits.list_packages")
    assert [*row] == ["endpoint", "path", "mark", "status", "reason", "fields", "paging", "contradictions"]
    assert (row["mark"], row["status"], row["path"]) == ("guide", "examined", PACKAGES)
    assert row["fields"][-1] == {
        "path": "data[].created",
        "status": "confirmed",
        "mark": "inferred",
        "expected": "number since the epoch",
        "found": None,
    }


MACHINE: Final = [
    "API key",
    "base URL",
    "job folder and journal",
    "disk space",
    "DNS",
    "TLS",
    "proxy",
    "clock",
    "round trips",
    "keep-alive",
    "versions",
]


async def test_machine() -> None:
    """All of the machine is checked, and nothing of it is a fault against the sandbox."""
    machine = json.loads((await run_against_sandbox("--json")).stdout)["machine"]
    assert [one["name"] for one in machine] == MACHINE
    assert [one["name"] for one in machine if one["ok"] is False] == []


async def test_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is named, without its address, which may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cret@proxy.example:3128")
    output = (await run_against_sandbox()).output
    assert "proxy: HTTPS_PROXY set, and ignored" in output
    assert "s3cret" not in output


async def test_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file in place of the jobs' folder is a fault."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    machine = json.loads((await run_against_sandbox("--json")).stdout)["machine"]
    assert next(one["ok"] for one in machine if one["name"] == "job folder and journal") is False


class Page(html.parser.HTMLParser):
    """Collect a page's tags, and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.references: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value for name, value in attrs if name in {"src", "href", "onerror", "onload"}]


async def test_report(tmp_path: Path) -> None:
    """The report is a page that loads nothing, says what was found, and escapes the names that a server chose."""
    report = tmp_path / "report.html"
    items = [{"id": "1", "<script>alert(1)</script>": 1, '"><img src=x onerror=alert(1)>': 1, "<b>": "v4lue"}]
    result = await run_against_answers({PACKAGES: always(wrap(items))}, "--report", report)
    text = report.read_text()
    page = Page(text)
    assert result.exit_code == 3
    assert not {"script", "img", "link", "b"} & page.tags
    assert page.references == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;: new, number" in text
    assert "v4lue" not in text
    assert str(tmp_path) not in text


async def test_report_that_cannot_be_written(tmp_path: Path) -> None:
    """A report that cannot be written is an error on standard error, after the document."""
    result = await run_against_sandbox("--json", "--report", tmp_path / "missing" / "report.html")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["contradictions"] == []
    assert "cannot be written" in result.stderr


async def test_control_characters() -> None:
    """What a server sends cannot control the terminal."""
    items = [{"id": "1", "\x1b]0;title\x07": 1, "\u202e": 1}]
    result = await run_against_answers({PACKAGES: always(wrap(items))})
    assert "\x1b" not in result.output
    assert result.output.isascii()


def echo_key(status: int, wrap_key: Callable[[str], object]) -> Step:
    """Answer with the request's own API key."""

    async def handle_request(request: Received, writer: Any) -> None:
        key = request.headers["authorization"].removeprefix("Bearer ")
        await reply(status, wrap_key(key), {"Date": key, "Connection": key})(request, writer)

    return handle_request


ECHOES: Final[dict[str, Step]] = {
    "code": echo_key(401, lambda key: {"error": {"type": "x", "code": key, "message": key}}),
    "cut code": echo_key(401, lambda key: {"error": {"type": "x", "code": "x" * 70 + key}}),
    "field": echo_key(200, lambda key: wrap([{"id": key, key: key, f"x{key}": 1, "y" * 70 + key: 1}])),
    "page field": echo_key(200, lambda key: {**wrap([]), key: key}),
    "list": echo_key(200, lambda key: [key]),
    "error": echo_key(404, lambda key: {key: key}),
    "no object": echo_key(200, lambda key: key),
}


@pytest.mark.parametrize("form", [["--json"], []])
@pytest.mark.parametrize("name", ECHOES)
async def test_key_is_shown_nowhere(name: str, form: list[str], tmp_path: Path) -> None:
    """Whatever a server echoes, the key is in neither stream nor the report, nor the start of it."""
    report = tmp_path / "report.html"
    result = await run_against_step(ECHOES[name], "--client", CLIENT, "--report", report, *form)
    shown = result.stdout + result.stderr + report.read_text()
    assert not holds_canary(shown)
    assert CANARY[:8] not in shown


async def test_key_is_in_no_examination() -> None:
    """An examination holds no key, whatever a server echoes."""
    async with ScriptedServer(ECHOES["field"]) as server, BardgeClient(CANARY, server.base_url) as bardge:
        assert not [*find_canary(await examine(bardge, client_id=CLIENT))]


async def test_process() -> None:
    """As a process of its own: one document, nothing on standard error, and exit code 3 for a drifted sandbox."""
    async with Sandbox(drift=0) as sandbox:
        variables = {**os.environ, "BARDGE_BASE_URL": sandbox.base_url, "BARDGE_API_KEY": sandbox.api_key}
        command = [sys.executable, "-W", "error", "-m", "bardge_async", "doctor", "--client", CLIENT, "--json"]
        run = await anyio.run_process(command, env=variables, check=False)
    assert (run.returncode, run.stderr) == (3, b"")
    assert json.loads(run.stdout)["contradictions"]
    assert sandbox.api_key.encode() not in run.stdout
