"""Operations as procrastinate jobs, in PostgreSQL: any number of worker processes, effectively once.

Extra ``procrastinate``.
"""

from __future__ import annotations

try:
    from bardge_async.integrations.procrastinate._progress import JobDoubt, Progress
    from bardge_async.integrations.procrastinate._queue import BardgeQueue
    from bardge_async.integrations.procrastinate._sessions import worker_connection
    from bardge_async.integrations.procrastinate._waiting import WorkerEvent
except ModuleNotFoundError as error:
    if error.name not in {"procrastinate", "psycopg", "psycopg_pool"}:
        raise
    raise ModuleNotFoundError(
        f"{__name__} needs an extra: pip install 'bardge-async[procrastinate]'", name=error.name
    ) from None

__all__ = ["BardgeQueue", "JobDoubt", "Progress", "WorkerEvent", "worker_connection"]
