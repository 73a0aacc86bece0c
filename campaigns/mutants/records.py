"""Which tests execute which lines, recorded once by running them all: only those can notice a change there."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import coverage

from campaigns.mutants.changes import Mutant

RULES: Final = """[run]
source = {sources}
data_file = {folder}/{name}
parallel = true
sigterm = true
core = ctrace
context = ${{PYTEST_CURRENT_TEST-}}
"""
"""How to measure: a process that a test starts inherits the test's name; one that is killed leaves no record."""
_IMPORTED: Final = ""
"""The name under which coverage records what runs before the first test."""


@attrs.frozen
class Records:
    """What a folder of records says; tests that failed without any change are named, and used for nothing."""

    seconds: Mapping[str, float]
    failed: Sequence[str]
    _data: Sequence[coverage.CoverageData]

    @classmethod
    def read(cls, folder: Path) -> Records:
        """Read what :meth:`Workshop.record` wrote."""
        reports = [json.loads(path.read_text()) for path in sorted(folder.glob("*.report"))]
        data = [coverage.CoverageData(str(path)) for path in sorted(folder.glob("*.coverage.*"))]
        for one in data:
            one.read()
        seconds = {test: taken for report in reports for test, taken in report["passed"].items()}
        return cls(seconds, [test for report in reports for test in report["failed"]], data)

    def find_tests(self, mutant: Mutant, source: str) -> list[str]:
        """Return the tests that execute a change, the quickest first.

        What imports execute, such as a constant, concerns the tests of what encloses it: of its function, its class, or
        at last its module. What imports and tests execute concerns the tests that execute it, then those of its module.
        """
        lines = self._read_lines(mutant.path, _list_body_lines(source))
        every = set[str]().union(*lines.values()) - {_IMPORTED}
        for first, last in _list_spans(mutant, source):
            found = set[str]().union(*(lines[line] for line in range(first, last + 1) if line in lines))
            if found - {_IMPORTED}:
                return [*self._sort(found - {_IMPORTED}), *(self._sort(every - found) if _IMPORTED in found else ())]
        return []

    def _sort(self, tests: set[str]) -> list[str]:
        return sorted(tests, key=lambda test: (self.seconds[test], test))

    def _read_lines(self, path: str, within: set[int]) -> dict[int, set[str]]:
        """Return the tests of each of the given lines."""
        lines: defaultdict[int, set[str]] = defaultdict(set)
        for data in self._data:
            for file in data.measured_files():
                if file.endswith(f"/{path}"):
                    for line, contexts in data.contexts_by_lineno(file).items():
                        # A process that a test started adds the phase.
                        lines[line].update(context.rpartition(" (")[0] or context for context in contexts)
        return {line: tests & {_IMPORTED, *self.seconds} for line, tests in lines.items() if line in within}


def _list_body_lines(source: str) -> set[int]:
    """Return the lines inside functions."""
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)
    }


def _list_spans(mutant: Mutant, source: str) -> Iterator[tuple[int, int]]:
    """Yield the first and last line of a change, then of the statements around it from inside out."""
    first, last = mutant.change.line, mutant.change.line + mutant.change.before.count("\n")
    yield first, last
    around = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt) and node.lineno <= first and last <= (node.end_lineno or node.lineno)
    ]
    yield from sorted(around, key=lambda span: span[1] - span[0])
    yield 1, source.count("\n") + 1
