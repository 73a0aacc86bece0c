"""The README is true: its code runs, its table is the table."""

from __future__ import annotations

import ast
import inspect
import re
import types
from pathlib import Path
from typing import Any

import pytest

from bardge_async import BardgeClient
from bardge_async.endpoints import ENDPOINTS
from bardge_async.sandbox import Sandbox

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
TABLE = re.search(r"<!-- endpoints -->\n(.*?)<!-- /endpoints -->", README, re.DOTALL)
LINES = TABLE.group(1).splitlines()[2:] if TABLE else []
CELLS = {
    cells[0].strip("`"): cells for line in LINES if (cells := [cell.strip() for cell in line.strip("|").split("|")])
}


@pytest.mark.asyncio
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
        row.again.value if row.again else "",
        row.mark.value,
    ]


def test_readme_has_no_other_rows() -> None:
    """The README's endpoint table holds no row that the table lacks."""
    assert CELLS.keys() == ENDPOINTS.keys()


def test_readme_commands_stand_near_the_top() -> None:
    """The README's first two shell blocks are one line each: the demo and the tests."""
    first, second = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[:2]
    assert (first.count("\n"), second.count("\n")) == (1, 1)
    assert first.strip().endswith("bardge demo")
    assert "pytest" in second
