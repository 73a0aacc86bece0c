"""The machine check of the import floors passes here and catches each kind of fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parent.parent / ".ci" / "floors.py"


def check(*folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, str(CHECK), *map(str, folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def planted(tmp_path: Path, files: dict[str, str]) -> Path:
    folder = tmp_path / "bardge_async"
    for name, text in {"__init__.py": "", "errors.py": "", "_runtime.py": "", "_client.py": "", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_this_tree() -> None:
    """The package keeps its floors."""
    assert check() == (0, [])


@pytest.mark.parametrize(
    "files",
    [
        {},
        {
            "__init__.py": "from bardge_async._client import x",
            "_client.py": "from bardge_async import _runtime, errors",
        },
        {"_runtime.py": "import asyncio\nimport anyio.abc", "sandbox/__init__.py": "import aiohttp"},
        {"cli.py": "import bardge_async\nfrom bardge_async import BardgeClient, errors"},
        {"models/__init__.py": "from bardge_async.models.a import A", "models/a.py": "from ..errors import E"},
        {"errors.py": "import json\nimport asyncio_like\nfrom os import path"},
    ],
)
def test_allowed(tmp_path: Path, files: dict[str, str]) -> None:
    """Imports downwards, within a floor, from outside, and I/O below the line are no faults."""
    assert check(planted(tmp_path, files)) == (0, [])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import bardge_async._client", 1),
        ("from bardge_async._client import BardgeClient", 1),
        ("from bardge_async import _client", 1),
        ("from . import _client", 1),
        ("from ._client import BardgeClient as B", 1),
        ("def lazy():\n    from bardge_async import _client", 2),
        ("import typing\nif typing.TYPE_CHECKING:\n    from bardge_async._client import BardgeClient", 3),
        ("import importlib\ndef lazy():\n    importlib.import_module('bardge_async._client')", 3),
        ("__import__('bardge_async._client')", 1),
        ("try:\n    pass\nfinally:\n    import bardge_async._client as c", 4),
    ],
)
def test_upwards(tmp_path: Path, text: str, line: int) -> None:
    """An import of a higher floor is a fault in every form, lazy and type-only ones too."""
    folder = planted(tmp_path, {"errors.py": text})
    why = "bardge_async.errors imports bardge_async._client, which stands above it"
    assert check(folder) == (1, [f"{folder}/errors.py:{line}: {why}"])


def test_root_is_above(tmp_path: Path) -> None:
    """Nothing that the root re-exports may import the root."""
    folder = planted(tmp_path, {"_client.py": "from bardge_async import BardgeClient"})
    assert check(folder) == (
        1,
        [f"{folder}/_client.py:1: bardge_async._client imports bardge_async, which stands above it"],
    )


@pytest.mark.parametrize("side", ["cli", "sandbox", "testing", "integrations"])
def test_side_buildings(tmp_path: Path, side: str) -> None:
    """Nothing below imports a side building, the root neither."""
    folder = planted(tmp_path, {f"{side}/__init__.py": "", "__init__.py": f"from bardge_async.{side} import x"})
    why = f"bardge_async imports bardge_async.{side}, which stands above it"
    assert check(folder) == (1, [f"{folder}/__init__.py:1: {why}"])


@pytest.mark.parametrize("outside", ["aiohttp", "anyio", "asyncio"])
def test_io_above_the_line(tmp_path: Path, outside: str) -> None:
    """No pure module does I/O, not even lazily or in a submodule."""
    text = f"def lazy():\n    import {outside}.abc\n    from {outside} import x"
    folder = planted(tmp_path, {"models/__init__.py": "", "models/passes.py": text})
    why = f"bardge_async.models.passes is pure and imports {outside}"
    assert check(folder) == (1, [f"{folder}/models/passes.py:{line}: {why}" for line in (2, 3)])


def test_cycle(tmp_path: Path) -> None:
    """Modules of one floor may not import each other in a circle; each circle is told once."""
    files = {
        "sandbox/__init__.py": "",
        "sandbox/_a.py": "from bardge_async.sandbox import _b",
        "sandbox/_b.py": "import os\nfrom bardge_async.sandbox._c import x",
        "sandbox/_c.py": "def lazy():\n    from bardge_async.sandbox import _a",
    }
    folder = planted(tmp_path, files)
    ring = " -> ".join(f"bardge_async.sandbox.{name}" for name in ("_a", "_b", "_c", "_a"))
    assert check(folder) == (1, [f"{folder}/sandbox/_a.py:1: import cycle: {ring}"])


def test_package_cycle(tmp_path: Path) -> None:
    """A package and its own module may not import each other."""
    files = {
        "models/__init__.py": "from bardge_async.models.passes import Pass",
        "models/passes.py": "from bardge_async.models import Mark",
    }
    folder = planted(tmp_path, files)
    ring = "bardge_async.models -> bardge_async.models.passes -> bardge_async.models"
    assert check(folder) == (1, [f"{folder}/models/__init__.py:1: import cycle: {ring}"])


def test_unknown_module(tmp_path: Path) -> None:
    """A module that is not on the list is a fault, so that the list stays true."""
    folder = planted(tmp_path, {"_utils.py": "", "helpers/deep.py": ""})
    assert check(folder) == (
        1,
        [
            f"{folder}/_utils.py:1: bardge_async._utils has no floor: add it to the list in .ci/floors.py",
            f"{folder}/helpers/deep.py:1: bardge_async.helpers.deep has no floor: add it to the list in .ci/floors.py",
        ],
    )
