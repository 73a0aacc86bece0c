"""``bardge batch``: one operation for each row of a file, resumable and never executed twice."""

from __future__ import annotations

from bardge_async.cli.batch._commands import batch

__all__ = ["batch"]
