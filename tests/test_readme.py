"""README and docs are true: their code runs, their tables say what the code says, their links lead somewhere."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

import bardge_async
from bardge_async import BardgeClient, Event, OperationStatus, ReplayWindow, RetryPolicy, Timeouts, errors
from bardge_async.endpoints import ENDPOINTS
from bardge_async.models import Mark
from bardge_async.sandbox import Sandbox
from bardge_async.testing import FakeTransport

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
}
README: Final = PAGES["README.md"]
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

RUN: Final = ("README.md", "docs/client.md", "docs/doctor.md", "docs/endpoints.md", "docs/errors.md", "docs/walks.md")
"""The pages whose Python blocks run as they stand; the plugin's tests run those of ``testing-your-integration.md``."""
BLOCKS: Final = {
    f"{name}-{number}": block
    for name in RUN
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", PAGES[name], re.MULTILINE | re.DOTALL))
}


def read_section(page: str, mark: str) -> str:
    """Return the text between a page's marks."""
    [section] = re.findall(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", PAGES[page], re.DOTALL)
    return str(section)


def read_table(page: str, mark: str) -> dict[str, list[str]]:
    """Return the cells of a table's lines by the first cell, which no two lines share."""
    lines = [line.strip("|") for line in read_section(page, mark).splitlines()[2:]]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    table = {cells[0].strip("`"): cells for cells in rows}
    assert len(table) == len(rows)
    return table


ENDPOINT_ROWS: Final = read_table("docs/endpoints.md", "endpoints")


async def run_block(name: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Run a block as it stands, in a folder, against a sandbox; then the tests that it defines."""
    code = compile(BLOCKS[name], name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BARDGE_API_KEY", sandbox.api_key)
    monkeypatch.setenv("BARDGE_BASE_URL", sandbox.base_url)
    names: dict[str, Any] = {"__name__": "readme"}
    running = types.FunctionType(code, names)()
    if inspect.isawaitable(running):
        await running
    async with BardgeClient() as bardge:
        for test in [name for name in names if name.startswith("test_")]:
            await names[test](bardge, sandbox)


@pytest.mark.parametrize("name", BLOCKS)
async def test_code_runs(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every Python block of the README, and of the pages that took over from it, runs as it stands in the sandbox."""
    async with Sandbox() as sandbox:
        await run_block(name, sandbox, monkeypatch, tmp_path)


def test_pages_have_code() -> None:
    """Every page that is run shows Python code, the README one block for each kind of user."""
    counts = Counter(block.rpartition("-")[0] for block in BLOCKS)
    assert counts.keys() == set(RUN)
    assert counts["README.md"] >= 3


async def test_readme_batch_job_runs(tmp_path: Path) -> None:
    """The README's batch job does what it says: each row once, however often it is run."""
    [job] = [block for block in SHELL if "bardge batch run" in block]
    clients = ("client_abc123", "client_visits_used")
    async with Sandbox() as sandbox:
        before = Counter(entry.client_id for client in clients for entry in sandbox.ledger(client))
        place = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(tmp_path / "state"),
        }
        access = {"BARDGE_API_KEY": sandbox.api_key, "BARDGE_BASE_URL": sandbox.base_url}
        for _ in range(2):
            shell = await asyncio.create_subprocess_exec("bash", "-ec", job, cwd=tmp_path, env={**place, **access})
            assert await shell.wait() == 0
        bought = Counter(entry.client_id for client in clients for entry in sandbox.ledger(client)) - before
    assert bought == Counter(clients)
    results = (tmp_path / "clients.topup-2026-11.results.csv").read_text(encoding="utf-8")
    assert [line.split(",")[3] for line in results.splitlines()] == ["status", "skipped", "skipped"]


async def test_readme_worker_sends_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's queue worker prints what its comments say, and a task that is delivered twice sends once."""
    [name] = [name for name, block in BLOCKS.items() if name.startswith("README.md") and "handle(" in block]
    async with Sandbox() as sandbox:
        await run_block(name, sandbox, monkeypatch, tmp_path)
        assert len([request for request in sandbox.requests if request.method == "POST"]) == 1
    assert (
        capsys.readouterr().out.splitlines() == re.findall(r"# (None|journal): ", BLOCKS[name]) == ["None", "journal"]
    )


def test_readme_is_short() -> None:
    """The README is an introduction of at most 170 lines; the rest is in the docs."""
    assert len(README.splitlines()) <= 170


def test_readme_counts() -> None:
    """The README's numbers of endpoints and situations, and the page's number of inferred paths, are right."""
    assert f"the {len(ENDPOINTS)} endpoints" in README
    situations = read_table("docs/what-happens-when.md", "when")
    assert f"in {len(situations)} situations" in README
    inferred = [endpoint.name for endpoint in ENDPOINTS.values() if endpoint.mark is Mark.INFERRED]
    assert len(inferred) == 7
    assert "Seven of these paths are inferred" in PAGES["docs/endpoints.md"]


def write_marked(text: str, mark: Mark | None) -> str:
    """Write a header's letter with its mark, which "K?" implies and a page needs not."""
    if mark is None:
        return ""
    return text if mark is Mark.PAGE or text == "K?" else f"{text} ({mark.value})"


@pytest.mark.parametrize("name", ENDPOINTS)
def test_line_equals_the_endpoint(name: str) -> None:
    """The page's line for an endpoint says what the table says."""
    row = ENDPOINTS[name]
    result = f"`Walk[{row.item.__name__}]`" if row.item else f"`{row.response.__name__}`"
    paging = "" if row.paging_mark is None or row.paging_mark is Mark.PAGE else f" ({row.paging_mark.value} paging)"
    headers = f"{write_marked(row.key.value, row.key_mark)} {write_marked('L', row.lookup_token_mark)}".strip()
    assert ENDPOINT_ROWS[name] == [
        f"`{name}`",
        f"`{row.method} {row.path}`",
        f"`{row.request.__name__}`" if row.takes_body else "",
        f"{result}{paging}",
        headers,
        row.repeat_effect.value if row.repeat_effect else "",
        row.mark.value,
    ]


def test_no_other_endpoints() -> None:
    """The page's endpoint table holds no line that the table lacks."""
    assert ENDPOINT_ROWS.keys() == ENDPOINTS.keys()


def test_readme_commands_stand_near_the_top() -> None:
    """The README's first two shell blocks are one line each: the demo and the tests."""
    first, second = SHELL[:2]
    assert (first.count("\n"), second.count("\n")) == (1, 1)
    assert first.strip().endswith("bardge demo")
    assert "pytest" in second


def test_settings() -> None:
    """The page lists all arguments of the client, in their order."""
    assert list(read_table("docs/client.md", "settings")) == list(inspect.signature(BardgeClient).parameters)


def test_values() -> None:
    """The page lists all values of the settings' classes, with their defaults."""
    defaults = {
        f"{kind.__name__}.{field.name}": str(field.default)
        for kind in (Timeouts, RetryPolicy, ReplayWindow)
        for field in attrs.fields(kind)
    }
    assert {name: cells[1] for name, cells in read_table("docs/client.md", "values").items()} == defaults


def test_events() -> None:
    """The page lists all events, each with the fields that it adds."""
    kinds = [found for name in bardge_async.__all__ if isinstance(found := getattr(bardge_async, name), type)]
    common = [field.name for field in attrs.fields(Event)]
    added = {
        kind.__name__: [field.name for field in attrs.fields(kind) if field.name not in common]
        for kind in kinds
        if issubclass(kind, Event) and kind is not Event
    }
    table = read_table("docs/client.md", "events")
    assert {name: re.findall(r"`(\w+)`", cells[2]) for name, cells in table.items()} == added


def test_statuses() -> None:
    """The page lists all statuses of an operation."""
    assert list(read_table("docs/client.md", "statuses")) == [status.value for status in OperationStatus]


def test_walk_options() -> None:
    """The page lists all options of a list method, in their order."""
    client = BardgeClient("key", "http://localhost", transport=FakeTransport())
    parameters = inspect.signature(client.passes.list).parameters
    assert list(read_table("docs/walks.md", "options")) == list(parameters)


def test_error_tree() -> None:
    """The page's tree of errors is that of the classes, and holds all of them."""
    branch: list[str] = []
    bases: dict[str, str] = {}
    for indent, name in re.findall(r"^([ │├└─]*)(\w+Error)\b", read_section("docs/errors.md", "errors"), re.MULTILINE):
        depth = (len(indent) + 3) // 5
        branch[depth:] = [name]
        bases[name] = branch[depth - 1] if depth else "Exception"
    assert bases == {name: getattr(errors, name).__base__.__name__ for name in errors.__all__}


def test_error_attributes() -> None:
    """The page lists the attributes of all errors, and names what each class adds."""
    assert list(read_table("docs/errors.md", "attributes")) == list(errors.BardgeError.__annotations__)
    added = PAGES["docs/errors.md"].split("<!-- /attributes -->")[1]
    for name in errors.__all__:
        own: dict[str, Any] = getattr(errors, name).__annotations__ if name != "BardgeError" else {}
        assert not own.keys() - set(re.findall(r"`(\w+)`", added)) - {"retryable"}, name


def find_anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """Every link to a file or a heading of this repository leads somewhere."""
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        if not path.startswith(("https:", "http:")):
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), target
            assert not anchor or anchor in find_anchors(file.read_text(encoding="utf-8")), target
