"""Workers: the outcome of jobs and doubts, and workers that die."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from bardge_async import BardgeClient, ConfigurationError, operation_key
from bardge_async.errors import AuthenticationError, PermissionDeniedError
from bardge_async.integrations.procrastinate import BardgeQueue, Progress
from tests.queue.conftest import JOB, Make, QueueRig, make_purchase, wait_until
from tests.support.server import Received, Step, cut, error, hang, reply

DONE = reply(payload={"balance": 5})
REFUSED = error(400, "invalid_request_error", "validation_error")
FAULT = error(500)
KEY = operation_key(JOB, "credits.purchase", "order-0")
_DEAD = """
WITH dead AS (
    INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s * interval '1 second') RETURNING id
)
UPDATE procrastinate_jobs SET status = 'doing', worker_id = dead.id FROM dead
"""


@asynccontextmanager
async def run_worker(rig: QueueRig, **options: Any) -> AsyncGenerator[asyncio.Task[None]]:
    """Run a worker until the end of the block, or of the worker."""
    task = asyncio.create_task(rig.queue.run_worker(signals=False, **options))
    yield task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def mark_jobs_taken(rig: QueueRig, seconds: float) -> None:
    """Mark every job as taken by a worker whose last heartbeat was a number of seconds ago."""
    rig.query(_DEAD, seconds)


async def test_a_job_that_is_delivered_again_finds_the_recorded_answer(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        rig.redeliver_jobs()
        await rig.run_worker()
        assert (rig.read_statuses(), rig.request_count) == (["succeeded"], 1)


async def test_an_operation_that_is_put_in_twice_is_sent_once(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer_many([make_purchase(), make_purchase()], job=JOB)
        await rig.run_worker()
        assert (rig.read_statuses(), rig.request_count) == (["succeeded", "succeeded"], 1)


async def test_a_job_whose_answer_was_lost_goes_on_under_the_same_key_and_bytes(make: Make) -> None:
    async with make(cut(), DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        first, second = rig.server.requests
        assert rig.read_statuses() == ["succeeded"]
        assert (first.headers["idempotency-key"], first.body) == (second.headers["idempotency-key"], second.body)


async def test_what_was_not_sent_waits_in_the_queue_to_be_tried_again(make: Make) -> None:
    async with make(DONE) as rig:
        rig.server.refuse()
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        assert rig.query("SELECT status::text, attempts, scheduled_at > now() FROM procrastinate_jobs") == [
            ("todo", 1, True)
        ]


async def test_what_was_not_sent_is_done_when_it_is_tried_again(make: Make) -> None:
    async with make(DONE) as rig:
        rig.server.refuse()
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        await rig.server.reopen()
        rig.redeliver_jobs()
        await rig.run_worker()
        assert (rig.read_statuses(), rig.request_count) == (["succeeded"], 1)


async def test_a_refused_operation_fails_and_is_not_sent_again(make: Make) -> None:
    async with make(REFUSED) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        await rig.queue.resume(JOB)
        await rig.run_worker()
        assert (rig.read_statuses(), rig.request_count) == (["failed"], 1)


async def test_a_refused_operation_is_sent_again_when_that_is_asked_for(make: Make) -> None:
    async with make(REFUSED, DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        assert await rig.queue.resume(JOB, retry_refused=True) == 1
        await rig.run_worker()
        assert (rig.read_statuses(), rig.request_count) == (["succeeded"], 2)


async def test_what_stays_in_doubt_fails_and_is_listed(make: Make) -> None:
    async with make(FAULT) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        async with rig.open_client() as bardge:
            [found] = await rig.queue.doubts(JOB, bardge)
        assert rig.read_statuses() == ["failed"]
        assert (found.id, found.doubt.idempotency_key) == ("order-0", KEY)


async def test_the_doubts_of_another_job_are_not_listed(make: Make) -> None:
    async with make(FAULT) as rig:
        await rig.queue.defer(make_purchase(), job="another")
        await rig.run_worker()
        async with rig.open_client() as bardge:
            assert await rig.queue.doubts(JOB, bardge) == []


async def test_a_doubt_that_was_settled_lets_its_job_succeed_without_a_request(make: Make) -> None:
    async with make(FAULT) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        async with rig.open_client() as bardge:
            await bardge.resolve(KEY, done={"balance": 5})
        await rig.queue.resume(JOB)
        await rig.run_worker()
        assert (rig.read_statuses(), rig.request_count) == (["succeeded"], 1)


async def test_the_job_of_a_worker_that_died_is_done_by_the_next(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        mark_jobs_taken(rig, 11)
        assert await rig.queue._table.requeue_stalled() == 1
        await rig.run_worker()
        assert rig.read_statuses() == ["succeeded"]


async def test_the_job_of_a_worker_that_is_gone_from_the_books_is_put_back(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        mark_jobs_taken(rig, 0)
        rig.query("DELETE FROM procrastinate_workers")
        assert await rig.queue._table.requeue_stalled() == 1


async def test_the_job_of_a_worker_that_lives_is_left_to_it(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        mark_jobs_taken(rig, 8)
        assert await rig.queue._table.requeue_stalled() == 0


async def test_a_job_whose_end_the_database_forgot_is_put_back_by_its_own_worker(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        async with run_worker(rig):
            await wait_until(lambda: rig.read_statuses() == ["succeeded"])
            rig.query("UPDATE procrastinate_jobs SET status = 'doing'")
            worker = rig.queue._worker
            assert worker is not None
            for _ in range(2):
                await worker._requeue_stalled()
            assert rig.read_statuses() == ["todo"]


async def test_a_job_that_a_worker_works_on_is_not_put_back_by_it(make: Make) -> None:
    async def sweep_jobs(request: Received, writer: asyncio.StreamWriter) -> None:
        worker = rig.queue._worker
        assert worker is not None
        for _ in range(3):
            await worker._requeue_stalled()
        await DONE(request, writer)

    async with make(sweep_jobs) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        assert rig.query("SELECT status::text, attempts FROM procrastinate_jobs") == [("succeeded", 1)]


async def test_sweeps_at_the_same_time_put_every_job_back_once(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer_many([make_purchase(number) for number in range(50)], job=JOB)
        mark_jobs_taken(rig, 11)
        swept = await asyncio.gather(*(rig.queue._table.requeue_stalled() for _ in range(4)))
        assert sum(swept) == 50
        assert rig.query("SELECT DISTINCT attempts FROM procrastinate_jobs") == [(1,)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(401, "authentication_error", "invalid_api_key"), AuthenticationError),
        (error(403, "permission_error", "account_disabled"), PermissionDeniedError),
    ],
    ids=["key", "account"],
)
async def test_what_would_fail_every_job_ends_the_worker_and_leaves_the_jobs(
    make: Make, answer: Step, kind: type[Exception]
) -> None:
    async with make(answer) as rig:
        await rig.queue.defer_many([make_purchase(number) for number in range(40)], job=JOB)
        with pytest.raises(kind):
            await rig.queue.run_worker(signals=False)
        assert await rig.queue.progress(JOB) == Progress(waiting=40, running=0, done=0, failed=0)


async def test_a_cancelled_worker_finishes_what_is_under_way(make: Make) -> None:
    arrived = anyio.Event()

    async def answer_slowly(request: Received, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await wait_until(lambda: task.cancelling() > 0)
        await DONE(request, writer)

    async with make(answer_slowly) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        async with run_worker(rig) as task:
            await arrived.wait()
        assert (rig.read_statuses(), rig.request_count) == (["succeeded"], 1)


async def test_sigterm_ends_a_worker_that_finishes_what_is_under_way(make: Make) -> None:
    async def answer_slowly(request: Received, writer: asyncio.StreamWriter) -> None:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)
        await DONE(request, writer)

    async with make(answer_slowly) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.queue.run_worker()
        assert (rig.read_statuses(), rig.request_count) == (["succeeded"], 1)


async def test_a_stopping_worker_leaves_an_unanswered_operation_to_the_next(make: Make) -> None:
    async def cancel_and_cut(_: Received, writer: asyncio.StreamWriter) -> None:
        task.cancel()
        await asyncio.sleep(0)
        writer.transport.abort()

    async with make(cancel_and_cut, DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        task = asyncio.create_task(rig.queue.run_worker(signals=False))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rig.read_statuses() == ["todo"]
        rig.redeliver_jobs()
        await rig.run_worker()
        assert (rig.read_statuses(), len(rig.keys)) == (["succeeded"], 1)


async def test_one_client_is_opened_and_closed_with_the_worker(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer_many([make_purchase(number) for number in range(5)], job=JOB)
        await rig.run_worker()
        assert rig.opened == ["opened", "closed"]


async def test_done_jobs_are_deleted_when_that_is_asked_for(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.queue.run_worker(wait=False, signals=False, delete_done=True)
        assert (rig.read_statuses(), rig.request_count) == ([], 1)


def is_listening(rig: QueueRig) -> bool:
    return bool(rig.query("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%LISTEN %%' AND pid <> pg_backend_pid()"))


async def test_a_worker_listens_for_jobs(make: Make) -> None:
    async with make(DONE) as rig, run_worker(rig):
        await wait_until(lambda: is_listening(rig))


async def test_a_worker_does_not_listen_when_told_not_to(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer_many([make_purchase(number) for number in range(60)], job=JOB)
        async with run_worker(rig, concurrency=1, listen=False):
            await wait_until(lambda: set(rig.read_statuses()) == {"succeeded"})
            assert not is_listening(rig)


async def test_a_journal_that_ends_with_the_process_is_refused(make: Make) -> None:
    async with make(DONE) as rig:
        queue = BardgeQueue(rig.app, lambda: BardgeClient("key", rig.server.base_url), queue="other")
        with pytest.raises(ConfigurationError, match="PostgresJournal"):
            await queue.run_worker(wait=False, signals=False)


async def test_a_worker_opens_the_app_where_it_is_not_open(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.app.close_async()
        await rig.run_worker()
        assert rig.read_statuses() == ["succeeded"]


async def test_a_second_worker_in_one_process_is_refused(make: Make) -> None:
    reached = anyio.Event()
    async with make(hang(reached)) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        task = asyncio.create_task(rig.run_worker())
        await reached.wait()
        with pytest.raises(ConfigurationError, match="already"):
            await rig.run_worker()
        rig.server.script = [cut(), DONE]
        await rig.server.__aexit__()
        await rig.server.__aenter__()
        await task


async def test_a_job_that_a_plain_worker_takes_goes_back_into_the_queue(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await rig.app.run_worker_async(queues=["bardge"], wait=False, install_signal_handlers=False)
        assert (rig.read_statuses(), rig.request_count) == (["todo"], 0)


async def test_a_worker_goes_on_when_the_database_has_dropped_its_connections(make: Make) -> None:
    dropped = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL"
    )

    async def drop_connections(request: Received, writer: asyncio.StreamWriter) -> None:
        rig.query(dropped)
        await DONE(request, writer)

    async with make(drop_connections, DONE) as rig:
        await rig.queue.defer_many([make_purchase(number) for number in range(30)], job=JOB)
        async with run_worker(rig):
            await wait_until(lambda: set(rig.read_statuses()) == {"succeeded"})
        assert len(rig.keys) == 30
