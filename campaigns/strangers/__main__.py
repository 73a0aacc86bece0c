"""``python -m campaigns.strangers [NAME ...]``: run third-party tools.

Runs all of them by default; exits with 1 if one finds a fault.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from campaigns.strangers import generated, linters, prism, schemathesis, typescript
from campaigns.strangers.place import Fault, Place

STRANGERS: Final[dict[str, Callable[[Place], str]]] = {
    "schemathesis": schemathesis.run,
    "prism": prism.run,
    "generated": generated.run,
    "typescript": typescript.run,
    "redocly": linters.run_redocly,
    "spectral": linters.run_spectral,
}


def main() -> int:
    """Run the selected tools one after another, and print the duration of each."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.strangers", description=__doc__)
    parser.add_argument("strangers", nargs="*", help=f"any of {', '.join(STRANGERS)}; default: all")
    parser.add_argument("--tools-python", default=sys.executable, help="interpreter for the tools' own venvs")
    parser.add_argument(
        "--keep", type=Path, help="folder to install the tools into and to keep; default: a temporary one"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.strangers) - STRANGERS.keys()
    if unknown:
        parser.error(f"there is no tool named {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        results = [run_tool(name, folder / name, arguments.tools_python) for name in arguments.strangers or STRANGERS]
    return 0 if all(results) else 1


def run_tool(name: str, folder: Path, python: str) -> bool:
    """Run one tool; return whether it found nothing."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        output, clean = STRANGERS[name](Place(folder, python)), True
    except Fault as fault:
        output, clean = str(fault), False
    verdict, seconds = "no fault" if clean else "FAULT", time.monotonic() - began
    print(f"{name}: {verdict} in {seconds:.0f} s\n{output}\n", flush=True)  # noqa: T201
    return clean


if __name__ == "__main__":
    sys.exit(main())
