"""The ``bardge`` command (extra ``cli``)."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the ``bardge`` command, or say which extra it needs."""
    try:
        from bardge_async.cli._commands import bardge
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("bardge: the command line needs an extra: pip install 'bardge-async[cli,sandbox]'")
    except KeyboardInterrupt:
        sys.exit(130)
    bardge()
