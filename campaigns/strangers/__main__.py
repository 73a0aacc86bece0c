"""``python -m campaigns.strangers [schemathesis] [prism] [generated]``: run some strangers, or all; exit 1 on a fault."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from campaigns.strangers import generated, prism, schemathesis
from campaigns.strangers.place import Fault, Place

STRANGERS: Final[dict[str, Callable[[Place], str]]] = {
    "schemathesis": schemathesis.run,
    "prism": prism.run,
    "generated": generated.run,
}


def main() -> int:
    """Run what was asked for, one after the other, and tell each one's time."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.strangers", description=__doc__)
    parser.add_argument("strangers", nargs="*", help=f"any of {', '.join(STRANGERS)}; default: all")
    parser.add_argument("--tools-python", default=sys.executable, help="interpreter for the strangers' own venvs")
    parser.add_argument(
        "--keep", type=Path, help="folder to install the tools in and to leave; default: a temporary one"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.strangers) - STRANGERS.keys()
    if unknown:
        parser.error(f"no stranger is named {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        results = [visit(name, folder / name, arguments.tools_python) for name in arguments.strangers or STRANGERS]
    return 0 if all(results) else 1


def visit(name: str, folder: Path, python: str) -> bool:
    """Run one stranger; tell whether it found nothing."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        told, good = STRANGERS[name](Place(folder, python)), True
    except Fault as fault:
        told, good = str(fault), False
    print(f"{name}: {'no fault' if good else 'FAULT'} in {time.monotonic() - began:.0f} s\n{told}\n", flush=True)  # noqa: T201
    return good


if __name__ == "__main__":
    sys.exit(main())
