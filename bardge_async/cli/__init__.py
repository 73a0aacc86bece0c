"""The ``bardge`` command (extra ``cli``)."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the ``bardge`` command, or say which extra it needs."""
    try:
        from bardge_async.cli._commands import bardge  # noqa: PLC0415 - click is an extra
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("bardge: the command line needs an extra: pip install 'bardge-async[cli,sandbox]'")
    bardge()
