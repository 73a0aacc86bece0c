"""Operations as jobs of procrastinate's, in PostgreSQL: any number of worker processes, effectively once.

Extra ``procrastinate``.
"""

from __future__ import annotations

from bardge_async.integrations.procrastinate._progress import JobDoubt, Progress
from bardge_async.integrations.procrastinate._queue import BardgeQueue
from bardge_async.integrations.procrastinate._table import worker_connection

__all__ = ["BardgeQueue", "JobDoubt", "Progress", "worker_connection"]
