"""``python -m campaigns.drift``: plant differences in the sandbox and compare them with what the doctor finds."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from typing import Final

from bardge_async import BardgeClient
from bardge_async.doctor import Examination, FieldStatus, RowStatus, examine
from bardge_async.sandbox import Drift, DriftKind, Sandbox

CLIENT: Final = "client_abc123"
_MISSING: Final = "missing"


async def compare_seed(seed: int | None) -> tuple[set[Drift], set[Drift]]:
    """Return what a seed planted, and what the doctor found; a renamed path's new name cannot be found."""
    async with Sandbox(drift=seed) as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        examination = await examine(bardge, client_id=CLIENT)
        planted = {_forget_path(drift) for drift in sandbox.drift}
    return planted, read_findings(examination)


def _forget_path(drift: Drift) -> Drift:
    return Drift(drift.endpoint, drift.kind, "") if drift.kind is DriftKind.PATH else drift


def read_findings(examination: Examination) -> set[Drift]:
    """Return an examination's findings in the words of the sandbox."""
    found = {
        Drift(row.endpoint, DriftKind.PATH, "") for row in examination.rows if row.status is RowStatus.CONTRADICTED
    }
    for row in examination.rows:
        for field in row.fields:
            if field.status is FieldStatus.NEW:
                found.add(Drift(row.endpoint, DriftKind.NEW, field.path))
            elif field.found == _MISSING and (row.endpoint, field.path) != ("classes.list", "data[].instances"):
                found.add(Drift(row.endpoint, DriftKind.MISSING, field.path))
            elif field.status is FieldStatus.CONTRADICTED:
                found.add(Drift(row.endpoint, DriftKind.TYPE, field.path))
    return found


async def run(seeds: int) -> int:
    """Compare all seeds; return the number of those that differ."""
    started_at, kinds, faults = time.monotonic(), Counter[DriftKind](), 0
    for seed in (None, *range(seeds)):
        planted, found = await compare_seed(seed)
        kinds.update(drift.kind for drift in planted)
        if planted != found:
            faults += 1
            _print(
                f"seed {seed}: not found {sorted(map(str, planted - found))}, not planted {sorted(map(str, found - planted))}"
            )
    counts = ", ".join(f"{kind.value} {kinds[kind]}" for kind in DriftKind)
    _print(
        f"{seeds} seeds, {kinds.total()} differences ({counts}), {time.monotonic() - started_at:.0f} s: {faults} wrong"
    )
    return faults


def main() -> int:
    """Run the campaign; return 1 if a seed's findings differ from what was planted."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.drift", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds, from 0")
    return 1 if asyncio.run(run(parser.parse_args().seeds)) else 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
