"""The machine check of names passes here and catches each kind of fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parent.parent / ".ci" / "names.py"


def run_check(*folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, str(CHECK), *map(str, folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def write_package(tmp_path: Path, files: dict[str, str]) -> Path:
    folder = tmp_path / "bardge_async"
    for name, text in {"__init__.py": "", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_this_tree() -> None:
    """The package keeps its names."""
    assert run_check() == (0, [])


@pytest.mark.parametrize(
    "files",
    [
        {"_core/a.py": "class A: ...", "sandbox/_a.py": "class A: ..."},
        {"_core/a.py": "def _held(x) -> bool: ...\ndef _read_one(): ...\ndef read_two(): ..."},
        {"_core/a.py": "def _feed_all(x): ...\ndef __enter__(x): ...\ndef __exit__(x): ..."},
        {"cli/_a.py": "def _read_cells(row: dict[str, str]): ..."},
        {"_client.py": "", "endpoints.py": "", "cli/_terminal.py": ""},
    ],
)
def test_allowed(tmp_path: Path, files: dict[str, str]) -> None:
    """The sandbox may share type names, a boolean may be a participle, a row is one of a file."""
    assert run_check(write_package(tmp_path, files)) == (0, [])


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (
            {"_core/a.py": "class A: ...", "_journal/b.py": "class A: ..."},
            "_journal/b.py:1: A is also a type of {folder}/_core/a.py: choose another name",
        ),
        (
            {"_core/a.py": "def _told_all(x) -> str: ..."},
            "_core/a.py:1: _told_all: name a function by a verb and its object",
        ),
        (
            {"_core/a.py": "class A:\n  def _marked_x(self): ..."},
            "_core/a.py:2: _marked_x: name a function by a verb and its object",
        ),
        ({"_core/a.py": "class Case: ..."}, "_core/a.py:1: Case was given up: see CONTRIBUTING.md on names"),
        ({"_calls/a.py": "class A:\n  saw: int"}, "_calls/a.py:2: saw was given up: see CONTRIBUTING.md on names"),
        ({"_core/a.py": "def f_x(roll): ..."}, "_core/a.py:1: roll was given up: see CONTRIBUTING.md on names"),
        (
            {"_core/a.py": "def f_x(row: Endpoint[Any, Any]): ..."},
            "_core/a.py:1: row was given up: see CONTRIBUTING.md on names",
        ),
        ({"_loose.py": ""}, "_loose.py:1: a loose module: the root has six, put it into a room"),
        ({"_core/_a.py": ""}, "_core/_a.py:1: the underscore stands once, on the folder"),
        ({"cli/batch/_desk.py": ""}, "cli/batch/_desk.py:1: _desk was given up: see CONTRIBUTING.md on names"),
    ],
)
def test_fault(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    """Each fault is reported with its place."""
    folder = write_package(tmp_path, files)
    assert run_check(folder) == (1, [f"{folder}/{fault.format(folder=folder)}"])


def test_one_word(tmp_path: Path) -> None:
    """At most 45 % of the function names are one word."""
    folder = write_package(tmp_path, {"_core/a.py": "def f(): ...\ndef _g(): ...\ndef read_all(): ..."})
    assert run_check(folder) == (1, [f"{folder}:1: 67% of the function names are one word, more than 45%"])
