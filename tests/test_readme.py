"""The README is true: its code runs, its table is the table."""

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
from typing import Any

import pytest

from bardge_async import BardgeClient
from bardge_async.endpoints import ENDPOINTS
from bardge_async.sandbox import Sandbox

README = (Path(__file__).parent.parent / "README.md").read_text()
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
TABLE = re.search(r"<!-- endpoints -->\n(.*?)<!-- /endpoints -->", README, re.DOTALL)
LINES = TABLE.group(1).splitlines()[2:] if TABLE else []
CELLS = {
    cells[0].strip("`"): cells for line in LINES if (cells := [cell.strip() for cell in line.strip("|").split("|")])
}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
async def test_readme_code_runs(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every Python block of the README runs as it stands, against the sandbox."""
    code = compile(BLOCKS[number], f"README block {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    monkeypatch.chdir(tmp_path)
    async with Sandbox() as sandbox:
        monkeypatch.setenv("BARDGE_API_KEY", sandbox.api_key)
        monkeypatch.setenv("BARDGE_BASE_URL", sandbox.base_url)
        names: dict[str, Any] = {"__name__": "readme"}
        running = types.FunctionType(code, names)()
        if inspect.isawaitable(running):
            await running
        async with BardgeClient() as bardge:
            for name in [name for name in names if name.startswith("test_")]:
                await names[name](bardge, sandbox)


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


def test_readme_has_code() -> None:
    """The README shows Python code, so that the test above tests something."""
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("name", ENDPOINTS)
def test_readme_row_equals_the_table(name: str) -> None:
    """The README's line for an endpoint says what the table says."""
    row = ENDPOINTS[name]
    result = f"Walk[{row.item.__name__}]" if row.item else row.response.__name__
    headers = f"{row.key.value} {'L' if row.lookup_token else ''}".strip()
    assert CELLS[name] == [
        f"`{name}`",
        f"`{row.method} {row.path}`",
        f"`{row.request.__name__}`" if row.takes_body else "",
        f"`{result}`",
        headers,
        row.repeat_effect.value if row.repeat_effect else "",
        row.mark.value,
    ]


def test_readme_has_no_other_rows() -> None:
    """The README's endpoint table holds no row that the table lacks."""
    assert CELLS.keys() == ENDPOINTS.keys()


def test_readme_commands_stand_near_the_top() -> None:
    """The README's first two shell blocks are one line each: the demo and the tests."""
    first, second = SHELL[:2]
    assert (first.count("\n"), second.count("\n")) == (1, 1)
    assert first.strip().endswith("bardge demo")
    assert "pytest" in second
