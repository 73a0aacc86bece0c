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


@attrs.frozen
class Records:
    """What a folder of records says; tests that failed without any change are named, and used for nothing."""

    seconds: Mapping[str, float]
    failed: Sequence[str]
    _data: Sequence[coverage.CoverageData]
    _lines: dict[str, dict[int, set[str]]] = attrs.field(factory=dict, init=False)

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
        at last its module.
        """
        if mutant.path not in self._lines:
            self._lines[mutant.path] = self._read_lines(mutant.path, _list_body_lines(source))
        lines = self._lines[mutant.path]
        for first, last in _list_spans(mutant, source):
            found = set[str]().union(*(lines.get(line, ()) for line in range(first, last + 1)))
            if found:
                return sorted(found, key=lambda test: (self.seconds[test], test))
        return []

    def _read_lines(self, path: str, within: set[int]) -> dict[int, set[str]]:
        """Return the tests of each of the given lines, without the lines that an import executed."""
        lines: defaultdict[int, set[str]] = defaultdict(set)
        for data in self._data:
            for file in data.measured_files():
                if file.endswith(f"/{path}"):
                    for line, contexts in data.contexts_by_lineno(file).items():
                        # A process that a test started adds the phase.
                        lines[line].update(context.rpartition(" (")[0] or context for context in contexts)
        return {line: {*tests} & {*self.seconds} for line, tests in lines.items() if line in within and "" not in tests}


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
