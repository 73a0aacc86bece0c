"""Make changes in a copy of the tree, one after another, and let the tests judge them there."""

from __future__ import annotations

import enum
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from campaigns.mutants.changes import Change, list_changes

_IGNORED: Final = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "dist", "build")
_PASSED: Final = 0
_SECONDS_TO_CLEAN_UP: Final = 10.0


class Verdict(enum.StrEnum):
    """What the tests say about a change."""

    CAUGHT = "caught"
    TIMED_OUT = "caught by the time limit"
    SURVIVED = "survived"


@attrs.frozen
class Mutant:
    """A change to one file of the tree."""

    path: str
    change: Change

    def __str__(self) -> str:
        return f"{self.path}:{self.change.line}: {self.change}"


def list_mutants(tree: Path, folders: Sequence[str]) -> list[Mutant]:
    """Return all changes to the modules below some folders of a tree."""
    files = sorted(path for folder in folders for path in (tree / folder).rglob("*.py"))
    return [
        Mutant(path.relative_to(tree).as_posix(), change)
        for path in files
        for change in list_changes(path.read_text(encoding="utf-8"))
    ]


def draw_mutants(mutants: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """Draw a number of changes; the same seed draws the same ones from the same tree."""
    return random.Random(seed).sample(mutants, min(number, len(mutants)))


def find_tests(table: Mapping[str, tuple[str, ...]], path: str) -> tuple[str, ...]:
    """Return the tests of the longest entry in a table that a module's path begins with."""
    return table[max((name for name in table if path.startswith(name)), key=len)]


@contextmanager
def open_workshop(tree: Path, seconds: float) -> Generator[Workshop]:
    """Copy a tree into a temporary folder; ``seconds`` limit each run of tests."""
    with tempfile.TemporaryDirectory(prefix="bardge-mutants-") as name:
        folder = Path(name)
        # Tests run servers as another user, which must get to their folders.
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        shutil.copytree(tree, folder / "tree", ignore=shutil.ignore_patterns(*_IGNORED))
        yield Workshop(folder / "tree", folder / "tmp", seconds)


class Workshop:
    """A copy of the tree, in which one change at a time is made and judged."""

    def __init__(self, tree: Path, scratch: Path, seconds: float) -> None:
        self._tree = tree
        self._scratch = scratch
        self._seconds = seconds
        self._limits: dict[tuple[str, ...], float] = {}

    def check_tests(self, tests: tuple[str, ...]) -> bool:
        """Run tests without a change; return whether they pass, which limits the time of later runs to four times it."""
        if tests not in self._limits:
            started_at = time.monotonic()
            if self._run_tests(tests, self._seconds) is not Verdict.SURVIVED:
                return False
            self._limits[tests] = min(self._seconds, 10 + 4 * (time.monotonic() - started_at))
        return True

    def judge(self, mutant: Mutant, tests: tuple[str, ...]) -> Verdict:
        """Make a change, run the tests, and take the change back."""
        file = self._tree / mutant.path
        source = file.read_text(encoding="utf-8")
        # Compiled code is told apart by size and second only: two changes may agree in both.
        compiled = Path(importlib.util.cache_from_source(str(file)))
        try:
            file.write_text(mutant.change.apply(source), encoding="utf-8")
            compiled.unlink(missing_ok=True)
            return self._run_tests(tests, self._limits.get(tests, self._seconds))
        finally:
            file.write_text(source, encoding="utf-8")
            compiled.unlink(missing_ok=True)

    def _run_tests(self, tests: tuple[str, ...], seconds: float) -> Verdict:
        """Run tests until the first one fails, in a process group of their own."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        settings = {"PYTHONPATH": str(self._tree), "TMPDIR": str(self._scratch)}
        process = subprocess.Popen(
            command,
            cwd=self._tree,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Verdict.TIMED_OUT
        finally:
            _end_group(process)
            _clear_folder(self._scratch)
        return Verdict.SURVIVED if code == _PASSED else Verdict.CAUGHT


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, and what is left of its group."""
    if process.poll() is None:
        # An interrupt lets pytest end the servers that its tests started, unless the change keeps it from that.
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_CLEAN_UP)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _clear_folder(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
