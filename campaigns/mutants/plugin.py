"""A pytest plugin: record which lines each test executes, or run chosen tests, quickest first, each within its time.

It is told what to do by a file that the environment names, and leaves its report beside it.
"""

from __future__ import annotations

import json
import math
import os
import signal
from collections import defaultdict
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

import coverage
import pytest

ORDER: Final = "BARDGE_MUTANTS_ORDER"
"""The environment variable with the file's path: the seconds of each chosen test, or null to record all."""
TIMED_OUT: Final = 97
"""The exit code after a test that took too long."""


def pytest_configure(config: pytest.Config) -> None:
    """Register what the order asks for."""
    order = Path(os.environ[ORDER])
    chosen: dict[str, float] | None = json.loads(order.read_text())
    report = order.with_suffix(".report")
    config.pluginmanager.register(_Recorder(report) if chosen is None else _Judge(chosen, report))


class _Recorder:
    """Name the running test to coverage, and write down how long each took that passed."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        current = coverage.Coverage.current()
        assert current is not None, "coverage did not begin with this process"
        current.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        passed = {test: taken for test, taken in self._seconds.items() if test not in self._failed}
        self._report.write_text(json.dumps({"passed": passed, "failed": sorted(self._failed)}))


class _Judge:
    """Run the chosen tests, and write down which one failed."""

    def __init__(self, chosen: Mapping[str, float], report: Path) -> None:
        self._chosen = chosen
        self._report = report

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        places = {item.nodeid: number for number, item in enumerate(items)}
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in self._chosen])
        items[:] = [item for item in items if item.nodeid in self._chosen]
        # Tests of about the same length stay in their order, which changes fixtures of modules less often.
        items.sort(key=lambda item: (round(math.log2(self._chosen[item.nodeid] + 0.01)), places[item.nodeid]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        def give_up(*_: object) -> None:
            self._report.write_text(item.nodeid)
            os._exit(TIMED_OUT)

        signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, 20 + 10 * self._chosen[item.nodeid])
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._report.write_text(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._report.write_text(report.nodeid)
