"""Test the sandbox with schemathesis: no 500, only documented statuses, schemas hold, links are followed.

Two of its checks do not apply. ``positive_data_acceptance`` reports a 400 as a fault, but a document cannot say which
ids exist or that two cursors exclude each other. ``unsupported_method`` expects 405, which no page of the vendor shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from campaigns.strangers.place import Place, last_lines, sandbox

PACKAGE: Final = "schemathesis==4.32.5"
SECONDS: Final = 150


def run(place: Place) -> str:
    """Send generated requests, valid and invalid ones, to a sandbox; return the summary."""
    commands = place.pip(PACKAGE)
    workers, examples = (4, 25) if _newer_than_3_11(place) else (1, 8)
    with sandbox() as (base_url, api_key):
        return last_lines(
            place.command(
                str(commands / "st"),
                "run",
                str(place.document(base_url)),
                f"--url={base_url}",
                f"--header=Authorization: Bearer {api_key}",
                "--exclude-checks=unsupported_method,positive_data_acceptance",
                f"--max-examples={examples}",
                "--seed=1",
                f"--workers={workers}",
                "--continue-on-failure",
                "--generation-database=none",
                "--warnings=off",
                seconds=SECONDS,
                variables={"SCHEMATHESIS_HOOKS": str(Path(__file__).parent / "known_ids.py")},
            ),
            20,
        )


def _newer_than_3_11(place: Place) -> bool:
    # On 3.11 the interpreter's parser fails if several threads use it: "AST constructor recursion depth mismatch".
    return place.command(place.python, "-c", "import sys; print(sys.version_info >= (3, 12))", seconds=10) == "True\n"
