"""``python -m bardge_async`` is the ``bardge`` command."""

from __future__ import annotations

from bardge_async.cli import main

if __name__ == "__main__":
    main()
