"""Queries on procrastinate's tables beyond its own: requeue stalled and failed jobs, count a job's operations."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, LiteralString

from procrastinate import PsycopgConnector

STALLED_AFTER: Final = 10.0
"""Seconds without a heartbeat after which a worker is considered dead."""

# One statement that skips rows locked by another one: any number of workers may run it concurrently.
_REQUEUE_STALLED: Final = """
WITH dead AS (
    SELECT job.id FROM procrastinate_jobs job
    LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
    WHERE job.status = 'doing' AND job.queue_name = %(queue)s AND job.task_name = %(task)s
      AND (worker.id IS NULL OR worker.last_heartbeat < pg_catalog.now() - %(stalled)s * interval '1 second'
           OR job.worker_id = %(worker)s AND job.id = ANY(%(orphans)s::bigint[]))
    FOR UPDATE OF job SKIP LOCKED
)
UPDATE procrastinate_jobs job
SET status = CASE WHEN abort_requested THEN 'aborted' ELSE 'todo' END::procrastinate_job_status,
    abort_requested = false, attempts = attempts + 1, scheduled_at = NULL, worker_id = NULL
FROM dead WHERE job.id = dead.id
RETURNING job.id
"""
_RUNNING_JOBS: Final = """
SELECT id FROM procrastinate_jobs
WHERE status = 'doing' AND queue_name = %(queue)s AND task_name = %(task)s AND worker_id = %(worker)s
"""
_COUNTS: Final = """
SELECT status::text AS status, pg_catalog.count(*) AS count FROM procrastinate_jobs
WHERE queue_name = %(queue)s AND task_name = %(task)s AND args ->> 'job' = %(job)s GROUP BY status
"""
_IDS: Final = """
SELECT DISTINCT args ->> 'key' AS key, args ->> 'id' AS id FROM procrastinate_jobs
WHERE queue_name = %(queue)s AND task_name = %(task)s AND args ->> 'job' = %(job)s AND args ->> 'key' = ANY(%(keys)s)
"""
_REQUEUE_FAILED: Final = """
UPDATE procrastinate_jobs
SET status = 'todo', attempts = 0, scheduled_at = NULL, worker_id = NULL, args = args || %(more)s
WHERE queue_name = %(queue)s AND task_name = %(task)s AND args ->> 'job' = %(job)s
  AND status = 'failed'
RETURNING id
"""


class JobTable:
    """The jobs of one task in one queue."""

    def __init__(self, connector: PsycopgConnector, queue: str, task: str) -> None:
        self._connector = connector
        self._scope = {"queue": queue, "task": task}

    async def requeue_stalled(self, worker: int | None = None, orphans: Collection[int] = ()) -> int:
        """Requeue the jobs of dead workers, and a live worker's ``orphans``; return how many."""
        return len(await self._run_query(_REQUEUE_STALLED, stalled=STALLED_AFTER, worker=worker, orphans=list(orphans)))

    async def running_jobs(self, worker: int) -> set[int]:
        """Return the ids of the jobs that the table assigns to a worker."""
        return {row["id"] for row in await self._run_query(_RUNNING_JOBS, worker=worker)}

    async def count_by_status(self, job: str) -> dict[str, int]:
        """Count a job's operations by procrastinate status."""
        return {row["status"]: row["count"] for row in await self._run_query(_COUNTS, job=job)}

    async def find_ids(self, job: str, keys: list[str]) -> dict[str, str]:
        """Return the operation ids of those keys that belong to a job, by key."""
        return {row["key"]: row["id"] for row in await self._run_query(_IDS, job=job, keys=keys)} if keys else {}

    async def requeue_failed(self, job: str, *, retry_refused: bool) -> int:
        """Requeue a job's failed operations; return how many."""
        return len(await self._run_query(_REQUEUE_FAILED, job=job, more={"retry_refused": retry_refused}))

    async def _run_query(self, query: LiteralString, **values: object) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self._connector.execute_query_all_async(query, **self._scope, **values)
        return rows
