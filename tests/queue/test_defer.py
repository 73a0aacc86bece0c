"""Putting operations into the queue."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncGenerator, Iterator
from decimal import Decimal
from typing import Any, Final

import procrastinate
import psycopg
import pytest
from procrastinate.testing import InMemoryConnector

from bardge_async import (
    UPDATE_EXPIRY,
    BookClass,
    ConfigurationError,
    InvalidArgumentError,
    Operation,
    PurchaseCredits,
    UpdateIssuedPassExpiry,
    operation_key,
)
from bardge_async.integrations.procrastinate import BardgeQueue, Progress
from tests.queue.conftest import JOB, Make, make_purchase
from tests.support.server import reply

DONE = reply(payload={"balance": 5})


def make_purchases(count: int) -> Iterator[Operation[Any, Any]]:
    return (make_purchase(number) for number in range(count))


async def test_a_deferred_operation_is_sent_under_the_key_that_a_batch_would_use(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(7), job=JOB)
        await rig.run_worker()
        assert rig.keys == {operation_key(JOB, "credits.purchase", "order-7")}


async def test_the_request_arrives_as_the_client_itself_would_send_it(make: Make) -> None:
    request = UpdateIssuedPassExpiry(
        expiry_date=dt.date(2026, 12, 31), extra={"amount": Decimal("12345678901234567.89")}
    )
    async with make(reply(payload={"message": "ok"})) as rig:
        async with rig.open_client() as bardge:
            await bardge.passes.update_expiry("client/ä", request)
        await rig.queue.defer(Operation(UPDATE_EXPIRY, "client/ä", request=request, id="1"), job=JOB)
        await rig.run_worker()
        direct, queued = rig.server.requests
        assert (queued.target, queued.body) == (direct.target, direct.body)


async def test_a_row_without_a_body_goes_through_the_queue(make: Make) -> None:
    async with make(reply(payload={"id": "booking_1"})) as rig:
        await rig.queue.defer(Operation("bookings.confirm_spa", "sess_1", id="1"), job=JOB)
        await rig.run_worker()
        assert [(it.path, it.body) for it in rig.server.requests] == [("/bookings/spa/sess_1/confirm", b"")]


async def test_a_lookup_token_is_never_put_into_the_queue(make: Make) -> None:
    request = BookClass(class_instance_id="ci", client_id="c", first_name="A", last_name="O", user_pass_id="p")
    secret: Operation[Any, Any] = Operation(
        "bookings.initiate_class", request=request, id="1", lookup_token="lkpt_secret"
    )
    async with make(DONE) as rig:
        with pytest.raises(InvalidArgumentError, match="lookup_token") as caught:
            await rig.queue.defer(secret, job=JOB)
        assert "lkpt_secret" not in str(caught.value)
        assert rig.read_statuses() == []


WRONG: Final[list[tuple[Operation[Any, Any], str]]] = [
    (Operation("credits.purchase", id="1"), JOB),
    (Operation("credits.purchase", "extra", request=PurchaseCredits(client_id="c", package_id="p"), id="1"), JOB),
    (Operation("bookings.confirm_spa", "..", id="1"), JOB),
    (Operation("bookings.confirm_spa", "s", id=""), JOB),
    (Operation("bookings.confirm_spa", "s", id="1\0"), JOB),
    (Operation("bookings.confirm_spa", "s", id="1"), ""),
]


@pytest.mark.parametrize(("operation", "job"), WRONG, ids=["request", "path", "dots", "no id", "NUL", "no job"])
async def test_what_cannot_be_sent_is_refused_when_it_is_put_in(
    make: Make, operation: Operation[Any, Any], job: str
) -> None:
    async with make(DONE) as rig:
        with pytest.raises(InvalidArgumentError):
            await rig.queue.defer(operation, job=job)
        assert rig.read_statuses() == []


async def test_nothing_is_put_in_when_the_users_transaction_is_rolled_back(make: Make) -> None:
    async with make(DONE) as rig, await psycopg.AsyncConnection.connect(rig.database.dsn) as own:
        await rig.queue.defer(make_purchase(1), job=JOB, connection=own)
        await rig.queue.defer_many(make_purchases(3), job=JOB, connection=own)
        await own.rollback()
        await rig.run_worker()
        assert (rig.read_statuses(), rig.request_count) == ([], 0)


async def test_what_is_put_in_is_there_with_the_users_commit_and_not_before(make: Make) -> None:
    async with make(DONE) as rig, await psycopg.AsyncConnection.connect(rig.database.dsn) as own:
        await rig.queue.defer(make_purchase(), job=JOB, connection=own)
        before = rig.read_statuses()
        await own.commit()
        assert (before, rig.read_statuses()) == ([], ["todo"])


async def test_many_are_taken_as_they_are_needed_and_all_put_in(make: Make) -> None:
    async def yield_slowly() -> AsyncGenerator[Operation[Any, Any]]:
        for operation in make_purchases(2500):
            yield operation

    async with make(DONE) as rig:
        assert await rig.queue.defer_many(yield_slowly(), job=JOB) == 2500
        assert await rig.queue.progress(JOB) == Progress(waiting=2500, running=0, done=0, failed=0)


async def test_one_wrong_operation_among_many_puts_none_in(make: Make) -> None:
    wrong: Operation[Any, Any] = Operation("credits.purchase", id="1")
    async with make(DONE) as rig:
        with pytest.raises(InvalidArgumentError):
            await rig.queue.defer_many([*make_purchases(1200), wrong], job=JOB)
        assert rig.read_statuses() == []


async def test_no_operations_put_nothing_in(make: Make) -> None:
    async with make(DONE) as rig:
        assert await rig.queue.defer_many([], job=JOB) == 0


async def test_the_queue_holds_no_api_key(make: Make) -> None:
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        [(arguments,)] = rig.query("SELECT args FROM procrastinate_jobs")
        assert arguments == {
            "job": JOB,
            "row": "credits.purchase",
            "path": [],
            "body": json.dumps({"client_id": "client_abc123", "package_id": "cpkg_50"}, separators=(",", ":")),
            "id": "order-0",
            "key": operation_key(JOB, "credits.purchase", "order-0"),
        }


def test_an_app_over_another_connector_is_refused() -> None:
    app = procrastinate.App(connector=InMemoryConnector())
    with pytest.raises(ConfigurationError, match="PsycopgConnector"):
        BardgeQueue(app, lambda: pytest.fail("no client is needed"))
