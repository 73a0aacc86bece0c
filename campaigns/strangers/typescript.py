"""Use types that openapi-typescript generates, with the client openapi-fetch, against the sandbox."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from campaigns.strangers.place import Place, last_lines, sandbox

PACKAGES: Final = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@22.19.0")
SECONDS: Final = 60


def run(place: Place) -> str:
    """Generate the types, compile a program that uses them, and run it; return its output."""
    commands = place.npm(*PACKAGES)
    with sandbox() as (base_url, api_key):
        document = place.document(base_url)
        types, program = place.folder / "api.d.ts", place.folder / "talk.ts"
        place.command(str(commands / "openapi-typescript"), str(document), "--output", str(types), seconds=SECONDS)
        shutil.copy(Path(__file__).parent / "talk.ts", program)
        options = ("--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext", "--types", "node")
        place.command(str(commands / "tsc"), *options, str(program), seconds=SECONDS)
        output = place.command("node", str(program.with_suffix(".js")), base_url, api_key, seconds=SECONDS)
    return last_lines(output, 10)
