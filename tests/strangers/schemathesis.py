"""schemathesis drives the sandbox from the document: no 500, only documented statuses, schemas hold, links are walked.

Two of its checks do not fit. ``positive_data_acceptance`` takes a 400 for a fault, but a document cannot say which ids
exist or that two cursors exclude each other. ``unsupported_method`` wants 405, which no page of the vendor shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.strangers.place import Place, last_lines, sandbox

PACKAGE: Final = "schemathesis==4.32.5"
SECONDS: Final = 120


def run(place: Place) -> str:
    """Drive a sandbox with made-up requests, right and wrong ones, and return the summary."""
    commands = place.pip(PACKAGE)
    with sandbox() as (base_url, api_key):
        return last_lines(
            place.command(
                str(commands / "st"),
                "run",
                str(place.document(base_url)),
                f"--url={base_url}",
                f"--header=Authorization: Bearer {api_key}",
                "--exclude-checks=unsupported_method,positive_data_acceptance",
                "--max-examples=25",
                "--seed=1",
                "--workers=4",
                "--continue-on-failure",
                "--generation-database=none",
                "--warnings=off",
                seconds=SECONDS,
                variables={"SCHEMATHESIS_HOOKS": str(Path(__file__).parent / "known_ids.py")},
            ),
            20,
        )
