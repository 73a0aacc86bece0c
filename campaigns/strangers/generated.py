"""Use a client that openapi-python-client generates from the document with the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from campaigns.strangers.place import Fault, Place, last_lines, sandbox

PACKAGE: Final = "openapi-python-client==0.29.1"
SECONDS: Final = 60


def run(place: Place) -> str:
    """Generate the client; let it list, issue, move an expiry and buy credits; return its output."""
    commands = place.pip(PACKAGE)
    with sandbox() as (base_url, api_key):
        target = place.folder / "client"
        words = ("generate", "--path", str(place.document(base_url)), "--output-path", str(target), "--overwrite")
        path = {"PATH": f"{commands}:/usr/bin:/bin"}
        output = place.command(str(commands / "openapi-python-client"), *words, seconds=SECONDS, variables=path)
        if "unable to parse" in output.lower() or "Warning" in output:
            raise Fault(output)
        talk = str(Path(__file__).parent / "talk.py")
        output = place.command(
            str(commands / "python"), talk, base_url, api_key, seconds=SECONDS, variables={"PYTHONPATH": str(target)}
        )
    return last_lines(output, 10)
