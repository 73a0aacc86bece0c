"""``python -m campaigns.mutants``: make small changes to the code that decides about money; list what no test notices."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from campaigns.mutants.judge import Mutant, Verdict, Workshop, draw_mutants, find_tests, list_mutants, open_workshop

TREE: Final = Path(__file__).parents[2]
ROOMS: Final = tuple(f"bardge_async/{name}" for name in ("_core", "_calls", "_journal", "_doubts", "_batch"))

_RULES: Final = (
    "tests/test_retry.py",
    "tests/test_histories.py",
    "tests/test_clocks.py",
    "tests/test_wire.py",
    "tests/test_faulted.py",
    "tests/test_keys.py",
    "tests/test_budget.py",
)
_CALLS: Final = (
    "tests/test_idempotency.py",
    "tests/test_engine.py",
    "tests/journal/test_slow_writes.py",
    "tests/journal/test_broken.py",
    "tests/journal/test_rules.py",
    "tests/test_holdback.py",
    "tests/test_hooks.py",
    "tests/test_errors.py",
    "tests/test_credentials.py",
    "tests/test_client.py",
    "tests/test_cancellation.py",
)
_DOUBTS: Final = ("tests/test_reconcile.py", "tests/test_recover.py", "tests/test_when.py", "tests/test_cli_journal.py")
_VALUES: Final = ("tests/test_models.py", "tests/test_endpoints.py", "tests/contract", "tests/test_imports.py")
_CONVERTER: Final = ("tests/test_converter.py", *_VALUES, "tests/test_wire.py", "tests/security")
TESTS: Final[Mapping[str, tuple[str, ...]]] = {
    "bardge_async/_core/": (*_RULES, *_CALLS, *_DOUBTS, *_VALUES, "tests/test_machine.py", "tests/security"),
    "bardge_async/_core/codegen": _CONVERTER,
    "bardge_async/_core/converter": _CONVERTER,
    "bardge_async/_core/scalars": _CONVERTER,
    "bardge_async/_calls/": (*_CALLS, *_RULES, *_DOUBTS, "tests/test_machine.py", "tests/limiter", "tests/batch"),
    "bardge_async/_journal/": ("tests/journal", *_DOUBTS, "tests/test_cancellation.py", "tests/test_cli_postgres.py"),
    "bardge_async/_doubts/": (*_DOUBTS, "tests/journal/test_rules.py", "tests/journal/test_sqlite_time.py"),
    "bardge_async/_batch/": ("tests/batch", "tests/queue", "tests/batch_cli"),
}
"""By the beginning of a module's path: the tests that concern it, those that notice most first."""


def main(arguments: Sequence[str]) -> int:
    """Run the campaign; return 1 if tests fail without any change, since nothing can be judged then."""
    options = _parse_options(arguments)
    started_at = time.monotonic()
    mutants = list_mutants(TREE, ROOMS)
    drawn = draw_mutants(mutants, options.changes, options.seed)
    verdicts: Counter[Verdict] = Counter()
    with open_workshop(TREE, options.patience) as workshop:
        for number, mutant in enumerate(drawn, 1):
            if time.monotonic() - started_at >= options.seconds:
                break
            verdict = _judge(workshop, mutant)
            if verdict is None:
                return 1
            verdicts[verdict] += 1
            sys.stderr.write(f"{number} of {len(drawn)}: {mutant.path}:{mutant.change.line} {verdict.value}\n")
    counts = ", ".join(f"{verdict.value} {verdicts[verdict]}" for verdict in Verdict)
    _print(f"{verdicts.total()} of {len(mutants)} changes, {time.monotonic() - started_at:.0f} s: {counts}")
    return 0


def _judge(workshop: Workshop, mutant: Mutant) -> Verdict | None:
    """Judge a change, and print it if it survives; return None if its tests fail without it."""
    tests = find_tests(TESTS, mutant.path)
    if not workshop.check_tests(tests):
        _print(f"without any change, these fail or take too long: {' '.join(tests)}")
        return None
    verdict = workshop.judge(mutant, tests)
    if verdict is Verdict.SURVIVED:
        _print(f"survived: {mutant}")
    return verdict


def _parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m campaigns.mutants", description=__doc__)
    parser.add_argument("--changes", type=int, default=20, help="number of changes, drawn from all")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same changes from the same tree")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further change after this time")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds that one run of tests may take at most")
    return parser.parse_args(arguments)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Ended from outside, it still ends the tests that it started, and removes its copy.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
