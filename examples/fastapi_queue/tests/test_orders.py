"""Each order is charged once, and only if it was stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import psycopg
import pytest
import pytest_asyncio
from bardge_async.sandbox import Sandbox
from httpx import ASGITransport, AsyncClient

from orders import create_app, make_queue
from orders.queue import make_tables

pytestmark = pytest.mark.asyncio

ORDER = {"number": "8731", "client_id": "client_abc123", "package_id": "cpkg_50"}


@pytest_asyncio.fixture
async def web(dsn: str) -> AsyncGenerator[AsyncClient]:
    """Run the service on fresh tables."""
    await make_tables(dsn)
    app = create_app(dsn)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://web") as web,
    ):
        yield web


async def run_due_jobs(dsn: str, sandbox: Sandbox) -> None:
    """Run the jobs that are due, as a worker process does."""
    _, queue = make_queue(dsn, sandbox.api_key, sandbox.base_url)
    await queue.run_worker(wait=False, signals=False)


async def test_an_order_is_charged_by_a_worker(web: AsyncClient, dsn: str, bardge_sandbox: Sandbox) -> None:
    """The request only stores the order; the worker charges it."""
    answer = await web.post("/orders", json=ORDER)
    before = len(bardge_sandbox.account())
    await run_due_jobs(dsn, bardge_sandbox)
    state = (await web.get("/orders/8731")).json()["state"]
    assert (answer.status_code, before, len(bardge_sandbox.account()), state) == (202, 0, 1, "succeeded")


async def test_an_order_that_is_placed_twice_has_one_job(web: AsyncClient, dsn: str) -> None:
    """The second request's transaction is rolled back, with its job."""
    answers = [(await web.post("/orders", json=ORDER)).status_code for _ in range(2)]
    with psycopg.connect(dsn) as look:
        assert look.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (1,)
    assert answers == [202, 409]


async def test_a_redelivered_job_is_not_charged_again(web: AsyncClient, dsn: str, bardge_sandbox: Sandbox) -> None:
    """A job redelivered after a crash, long after the server forgot the key, is not charged again."""
    await web.post("/orders", json=ORDER)
    await run_due_jobs(dsn, bardge_sandbox)
    with psycopg.connect(dsn) as again:
        again.execute("UPDATE procrastinate_jobs SET status = 'todo'")
    bardge_sandbox.clock.advance(91)
    await run_due_jobs(dsn, bardge_sandbox)
    assert len(bardge_sandbox.account()) == 1


async def test_a_refused_order_fails(web: AsyncClient, dsn: str, bardge_sandbox: Sandbox) -> None:
    """An unknown package charges nothing, and is not retried."""
    await web.post("/orders", json={**ORDER, "package_id": "cpkg_none"})
    await run_due_jobs(dsn, bardge_sandbox)
    state = (await web.get("/orders/8731")).json()["state"]
    assert (state, len(bardge_sandbox.account())) == ("failed", 0)
