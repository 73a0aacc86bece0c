"""``python -m campaigns.mutants``: make small changes to the code that decides about money; list what no test notices."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from campaigns.mutants.changes import Mutant, draw_mutants, list_mutants
from campaigns.mutants.judge import Verdict, Workshop, open_workshop
from campaigns.mutants.records import Records

TREE: Final = Path(__file__).parents[2]
ROOMS: Final = tuple(f"bardge_async/{name}" for name in ("_core", "_calls", "_journal", "_doubts", "_batch"))
_READERS: Final = ("test_floors", "test_names", "test_style")
_UNCONCERNED: Final = ("typing/", "campaigns/test_mutants", "campaigns/test_soak", "test_readme", *_READERS)


def main(arguments: Sequence[str]) -> int:
    """Run the campaign; return 1 if no test passes without any change, since nothing can be judged then."""
    options = _parse_options(arguments)
    started_at = time.monotonic()
    mutants = list_mutants(TREE, ROOMS)
    drawn = draw_mutants(mutants, options.changes, options.seed)
    with ExitStack() as stack:
        workshops = [stack.enter_context(open_workshop(TREE, options.patience)) for _ in range(options.jobs)]
        folder = options.records or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bardge-records-")))
        if not (folder.exists() and any(folder.iterdir())) and options.seconds > 0:
            folder.mkdir(parents=True, exist_ok=True)
            record_tests(workshops, list_test_files(TREE), ROOMS, folder)
        records = Records.read(folder)
        for test in records.failed:
            _print(f"fails without any change, and judges none: {test}")
        if not records.seconds and options.seconds > 0:
            return 1
        verdicts = _judge(workshops, drawn, records, started_at + options.seconds)
    counts = ", ".join(f"{verdict.value} {verdicts[verdict]}" for verdict in Verdict)
    _print(f"{verdicts.total()} of {len(mutants)} changes, {time.monotonic() - started_at:.0f} s: {counts}")
    return 0


def list_test_files(tree: Path) -> list[str]:
    """Return the files of tests, without this campaign's and those that do not execute the rooms' code."""
    files = (path.relative_to(tree).as_posix() for path in sorted((tree / "tests").rglob("test_*.py")))
    return [file for file in files if not file.removeprefix("tests/").startswith(_UNCONCERNED)]


def record_tests(workshops: Sequence[Workshop], files: Sequence[str], rooms: Sequence[str], folder: Path) -> None:
    """Let each workshop run a share of the tests, and record what each test executes."""
    with ThreadPoolExecutor(len(workshops)) as pool:
        for number, workshop in enumerate(workshops):
            pool.submit(workshop.record, files[number :: len(workshops)], rooms, folder, str(number))


def _judge(workshops: Sequence[Workshop], mutants: Sequence[Mutant], records: Records, end: float) -> Counter[Verdict]:
    """Judge changes, one after another in each workshop, until a point in time."""
    verdicts: Counter[Verdict] = Counter()
    queue = iter(enumerate(mutants, 1))

    def work(workshop: Workshop) -> None:
        # Taking the next one is a single step, which threads do not share.
        for number, mutant in queue:
            if time.monotonic() >= end:
                return
            started_at = time.monotonic()
            judged = workshop.judge(mutant, records)
            if workshop.closed:
                return
            verdicts[judged.verdict] += 1
            told = f"{judged.verdict.value} {judged.test} (of {judged.tests}, {time.monotonic() - started_at:.0f} s)"
            sys.stderr.write(f"{number} of {len(mutants)}: {mutant.path}:{mutant.change.line} {told}\n")
            if judged.verdict is Verdict.SURVIVED:
                _print(f"survived: {mutant}")

    with ThreadPoolExecutor(len(workshops)) as pool:
        try:
            for done in [pool.submit(work, workshop) for workshop in workshops]:
                done.result()
        finally:
            for workshop in workshops:
                workshop.close()
    return verdicts


def _parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m campaigns.mutants", description=__doc__)
    parser.add_argument("--changes", type=int, default=20, help="number of changes, drawn from all")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same changes from the same tree")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further change after this time")
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds that one run of tests may take at most")
    parser.add_argument("--jobs", type=int, default=2, help="copies of the tree that are worked on concurrently")
    parser.add_argument("--records", type=Path, help="folder for what each test executes: used if filled, else filled")
    return parser.parse_args(arguments)


def _ignore(*_: object) -> None:
    pass


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Ended from outside, it still ends the tests that it started, and removes its copies.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        # A shell ignores these for what runs in the background, and tests that send them would inherit that.
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, _ignore)
    sys.exit(main(sys.argv[1:]))
