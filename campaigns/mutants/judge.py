"""Make changes in copies of the tree, one after another, and let the tests that execute them judge them there."""

from __future__ import annotations

import enum
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from campaigns.mutants import plugin
from campaigns.mutants.changes import Mutant
from campaigns.mutants.plugin import ORDER, TIMED_OUT
from campaigns.mutants.records import RULES, Records

_OWN_TREE: Final = Path(__file__).parents[2]
_IGNORED: Final = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "dist", "build")
_PASSED: Final = (0, 5)
"""pytest's exit codes without a failure: 5 if it found none of the tests."""
_SECONDS_TO_CLEAN_UP: Final = 10.0
_FIRST: Final = 60
"""So many of the quickest tests run before the rest: most changes need no more."""


class Verdict(enum.StrEnum):
    """What the tests say about a change."""

    CAUGHT = "caught"
    TIMED_OUT = "caught by the time limit"
    SURVIVED = "survived"


@attrs.frozen
class Judgement:
    """A verdict, and the test that caught the change."""

    verdict: Verdict
    test: str = ""
    tests: int = 0
    """How many execute the change."""


@contextmanager
def open_workshop(tree: Path, patience: float) -> Generator[Workshop]:
    """Copy a tree into a temporary folder; ``patience`` limits each run of tests, in seconds."""
    with tempfile.TemporaryDirectory(prefix="bardge-mutants-") as name:
        folder = Path(name)
        # Tests run servers as another user, which must get to their folders.
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        shutil.copytree(tree, folder / "tree", ignore=shutil.ignore_patterns(*_IGNORED))
        yield Workshop(folder / "tree", folder / "tmp", patience)


class Workshop:
    """A copy of the tree, in which one change at a time is made and judged."""

    def __init__(self, tree: Path, scratch: Path, patience: float) -> None:
        self._tree = tree
        self._scratch = scratch
        self._patience = patience
        self._order = scratch.with_name("order")
        self._starter = scratch.with_name("starter")
        self._process: subprocess.Popen[bytes] | None = None
        self.closed = False

    def close(self) -> None:
        """End the tests that run; what is judged now is not judged."""
        self.closed = True
        if self._process is not None:
            _end_group(self._process)

    def record(self, tests: Sequence[str], rooms: Sequence[str], folder: Path, name: str) -> None:
        """Run files of tests without a change, and leave in a folder what each test executes in some rooms."""
        self._starter.mkdir(exist_ok=True)
        # Python imports this whenever it starts, so that processes of the tests are measured, too.
        (self._starter / "sitecustomize.py").write_text("import coverage\n\ncoverage.process_startup()\n")
        rules = self._order.with_suffix(".coveragerc")
        sources = ",".join(str(self._tree / room) for room in rooms)
        rules.write_text(RULES.format(sources=sources, folder=folder, name=f"{name}.coverage"))
        self._run_tests(["--continue-on-collection-errors", *tests], None, {"COVERAGE_PROCESS_START": str(rules)})
        report = self._order.with_suffix(".report")
        if report.exists():
            shutil.copy(report, folder / f"{name}.report")

    def judge(self, mutant: Mutant, records: Records) -> Judgement:
        """Make a change, run the tests that execute it until one fails, and take the change back."""
        file = self._tree / mutant.path
        source = file.read_text(encoding="utf-8")
        tests = records.find_tests(mutant, source)
        try:
            file.write_text(mutant.change.apply(source), encoding="utf-8")
            self._drop_compiled(file)
            return self._run_until_caught({test: records.seconds[test] for test in tests})
        finally:
            file.write_text(source, encoding="utf-8")
            self._drop_compiled(file)

    @staticmethod
    def _drop_compiled(file: Path) -> None:
        # Compiled code is told apart by size and second only: two changes may agree in both.
        Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)

    def _run_until_caught(self, seconds: Mapping[str, float]) -> Judgement:
        tests = list(seconds)
        for some in (tests[:_FIRST], tests[_FIRST:]):
            left = dict.fromkeys(some)
            while not self.closed and (failed := self._run_chosen({test: seconds[test] for test in left})) is not None:
                # On a busy machine a test may fail for another reason; one that fails twice has noticed the change.
                if failed.test not in left or self._run_chosen({failed.test: seconds[failed.test]}) is not None:
                    return attrs.evolve(failed, tests=len(tests))
                del left[failed.test]
        return Judgement(Verdict.SURVIVED, tests=len(tests))

    def _run_chosen(self, chosen: Mapping[str, float]) -> Judgement | None:
        """Run tests until one fails; return which, or None."""
        if not chosen:
            return None
        files = sorted({test.partition("::")[0] for test in chosen})
        code = self._run_tests(["-x", *files], chosen, {})
        if code in _PASSED:
            return None
        verdict = Verdict.TIMED_OUT if code in {None, TIMED_OUT} else Verdict.CAUGHT
        return Judgement(verdict, self._order.with_suffix(".report").read_text())

    def _run_tests(
        self, arguments: Sequence[str], chosen: Mapping[str, float] | None, settings: Mapping[str, str]
    ) -> int | None:
        """Run tests in a process group of their own; return their exit code, or None if they took too long."""
        self._order.write_text(json.dumps(chosen))
        self._order.with_suffix(".report").write_text("")
        seconds = self._patience if chosen is None else min(self._patience, 60 + 4 * sum(chosen.values()))
        paths = os.pathsep.join(map(str, (self._starter, self._tree, _OWN_TREE)))
        # pytest's variable names the test in which this campaign may run itself.
        # A measurement of coverage around this one would take over its processes.
        foreign = ("PYTEST_CURRENT_TEST", "COVERAGE_", "COV_CORE_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        places = {"PYTHONPATH": paths, "TMPDIR": str(self._scratch), ORDER: str(self._order)}
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", plugin.__name__, *arguments],
            cwd=self._tree,
            env={**inherited, **places, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_group(process)
            _clear_folder(self._scratch)


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
