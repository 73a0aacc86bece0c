"""``bardge batch``: one operation for each row of a file, resumed after any end, never twice."""

from __future__ import annotations

from bardge_async.cli.batch._commands import batch
from bardge_async.cli.batch._queue_commands import submit, worker

batch.add_command(submit)
batch.add_command(worker)

__all__ = ["batch"]
