"""The machine check of lengths, docstrings and exports passes here and catches each kind of fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parent.parent / ".ci" / "style.py"
LONG = "    x = 1\n" * 40


def check(*folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, str(CHECK), *map(str, folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def planted(tmp_path: Path, files: dict[str, str]) -> Path:
    folder = tmp_path / "bardge_async"
    folder.mkdir()
    for name, text in {"__init__.py": "", **files}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_this_tree() -> None:
    """The package keeps its style."""
    assert check() == (0, [])


@pytest.mark.parametrize(
    "files",
    [
        {"errors.py": "\n" * 400},
        {"_a.py": f"def f():\n{LONG}"},
        {"_a.py": f'def f():\n    """Do.\n\n    It.\n    """\n{LONG}'},
        {"_a.py": "class A:\n    def f(self): ..."},
        {"errors.py": "class _A:\n    def f(self): ...\ndef _f(): ..."},
        {"__init__.py": "from bardge_async.errors import A\n__all__ = ['A']", "errors.py": ""},
        {
            "__init__.py": "from bardge_async import errors\nfrom bardge_async.errors import *\n"
            "__all__ = []\n__all__ += errors.__all__",
            "errors.py": "",
        },
        {"__init__.py": "if TYPE_CHECKING:\n  from bardge_async.errors import A\n__all__ = ['A']", "errors.py": ""},
    ],
)
def test_allowed(tmp_path: Path, files: dict[str, str]) -> None:
    """What is just short enough, private, or exported as listed is no fault."""
    assert check(planted(tmp_path, files)) == (0, [])


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("_a.py", "\n" * 401, "_a.py:1: 401 lines, more than 400"),
        ("_a.py", f"class A:\n  async def f():\n{LONG}    x = 2", "_a.py:2: f has 41 lines, more than 40"),
        ("errors.py", "class A: ...", "errors.py:1: A is public and has no docstring"),
        ("errors.py", "async def f(): ...", "errors.py:1: f is public and has no docstring"),
        ("errors.py", 'class A:\n  """A."""\n  def f(self): ...', "errors.py:3: f is public and has no docstring"),
        ("__init__.py", "from bardge_async.errors import A", "__init__.py:1: no __all__"),
        (
            "__init__.py",
            "from bardge_async.errors import A as B\n__all__ = []",
            "__init__.py:2: B is missing in __all__",
        ),
        (
            "__init__.py",
            "from bardge_async import errors\nfrom bardge_async.errors import *\n__all__ = []",
            "__init__.py:3: errors.__all__ is not added to __all__",
        ),
        (
            "__init__.py",
            "__all__ = []\n__all__ += errors.__all__",
            "__init__.py:1: errors.__all__ is added and not imported",
        ),
        ("__init__.py", "from bardge_async.errors import *", "__init__.py:1: no __all__"),
        ("_a.py", "# What became of it?", "_a.py:1: 'What became of' is not plain technical English"),
        ("_a.py", "# It is under\n# way at once.", "_a.py:2: 'at once' is not plain technical English"),
        ("__init__.py", "__all__ = ['C']", "__init__.py:1: C is in __all__ and not imported"),
    ],
)
def test_fault(tmp_path: Path, name: str, text: str, fault: str) -> None:
    """Each fault is told with its place."""
    folder = planted(tmp_path, {name: text})
    assert check(folder) == (1, [f"{folder}/{fault}"])


def test_re_exported_names_are_public(tmp_path: Path) -> None:
    """What the root re-exports from a private module needs docstrings, its methods too."""
    root = "from bardge_async._client import Client\n__all__ = ['Client']"
    folder = planted(tmp_path, {"__init__.py": root, "_client.py": "class Client:\n  def f(self): ...\ndef g(): ..."})
    assert check(folder) == (
        1,
        [f"{folder}/_client.py:{line} is public and has no docstring" for line in ("1: Client", "2: f")],
    )
