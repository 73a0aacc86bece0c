"""The outcomes of single operations in a batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bardge_async import (
    BardgeClient,
    CreditPurchase,
    Operation,
    OperationOutcome,
    OperationStatus,
    RetryPolicy,
    SQLiteJournal,
    errors,
    operation_key,
)
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.batch.operations import (
    collect_only_outcome,
    collect_outcomes,
    collect_statuses,
    make_purchase,
    make_purchases,
)
from tests.support.rig import OTHER, PURCHASE, advance_then, open_rig
from tests.support.server import cut, error, find_free_port, reply

REPLAYED = {"X-Idempotent-Replayed": "true"}


def get_purchase_id(outcome: OperationOutcome[Any]) -> str | None:
    """Return the id of the purchase."""
    assert isinstance(outcome.result, CreditPurchase)
    return outcome.result.id


async def test_done() -> None:
    """An executed operation is done, with its response, its key and the request id for support."""
    async with open_rig(reply(200, {"id": "cp_1"}, {"Bardge-Request-Id": "req_7"})) as it:
        outcome = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        key = operation_key("j", "credits.purchase", "order-1")
        assert (outcome.status, outcome.error, outcome.attempts) == (OperationStatus.DONE, None, 1)
        assert (get_purchase_id(outcome), outcome.request_id) == ("cp_1", "req_7")
        assert [outcome.idempotency_key, *it.keys] == [key, key]


async def test_replayed() -> None:
    """A response that the server replayed is marked."""
    async with open_rig(reply(200, {}, REPLAYED)) as it:
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="j")) == ["replayed"]


async def test_skipped() -> None:
    """An operation recorded as done is not sent again: it returns its response and request id."""
    async with open_rig(reply(200, {"id": "cp_1"}, {"Bardge-Request-Id": "req_7"})) as it:
        await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        again = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        assert (again.status, get_purchase_id(again), again.request_id, it.request_count) == (
            "skipped",
            "cp_1",
            "req_7",
            1,
        )


async def test_another_job() -> None:
    """The same operation in another job is another operation."""
    async with open_rig(reply()) as it:
        await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="november"))
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="december")) == ["done"]


async def test_done_long_ago(tmp_path: Path) -> None:
    """An operation whose stored response was removed is skipped, with the error that explains it."""
    clock = ManualClock()
    with SQLiteJournal(tmp_path / "journal.db", keep_bodies=10) as journal:
        async with open_rig(reply(), clock=clock, journal=journal) as it:
            await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
            clock.advance(60)
            await journal.prune(clock.wall())
            outcome = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
    assert (outcome.status, type(outcome.error)) == (OperationStatus.SKIPPED, errors.AlreadyDoneError)


async def test_refused() -> None:
    """An operation that the API rejects is refused, with the API's message."""
    async with open_rig(error(404, "invalid_request_error", "resource_not_found", "no such package")) as it:
        outcome = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        assert (outcome.status, outcome.result) == (OperationStatus.REFUSED, None)
        assert isinstance(outcome.error, errors.NotFoundError)
        assert outcome.error.message == "no such package"


@pytest.mark.parametrize("durable", [False, True])
async def test_refused_before(tmp_path: Path, *, durable: bool) -> None:
    """An operation refused in an earlier run is reported with the same message, and not sent."""
    journal = SQLiteJournal(tmp_path / "journal.db") if durable else None
    async with open_rig(error(400, "invalid_request_error", "validation_error", "too late"), journal=journal) as it:
        first = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        again = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        assert (again.status, str(again.error)) == (OperationStatus.REFUSED, str(first.error))
        assert isinstance(again.error, errors.InvalidRequestError)
        assert (again.error.code, again.attempts, it.request_count) == ("validation_error", 0, 1)
    if journal is not None:
        journal.close()


async def test_refused_and_its_answer_gone(tmp_path: Path) -> None:
    """A refusal whose message is no longer stored is still a refusal, and not sent."""
    clock = ManualClock()
    with SQLiteJournal(tmp_path / "journal.db", keep_bodies=10) as journal:
        async with open_rig(error(404, "invalid_request_error"), clock=clock, journal=journal) as it:
            await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
            clock.advance(60)
            await journal.prune(clock.wall())
            outcome = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
            assert (outcome.status, it.request_count) == (OperationStatus.REFUSED, 1)
            assert "no longer stored" in str(outcome.error)


async def test_refused_and_retried() -> None:
    """With ``retry_refused`` a refused operation is sent again."""
    async with open_rig(error(404, "invalid_request_error"), reply()) as it:
        await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="j", retry_refused=True)) == ["done"]


@pytest.mark.parametrize("step", [error(403, "permission_error", "permission_denied"), reply(404)])
async def test_not_executed_is_failed(step: Any) -> None:
    """An operation that the server did not execute has failed: the next run sends it again without being asked."""
    async with open_rig(step, reply(), retry=RetryPolicy(max_attempts=1)) as it:
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="j")) == ["failed"]
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="j")) == ["done"]


async def test_asked_to_go_slower() -> None:
    """After a 429 an operation waits beyond the attempts of one call, and is done once the server allows it."""
    async with open_rig(*[error(429, Retry_After="20")] * 9, reply()) as it:
        outcome = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        assert (outcome.status, outcome.attempts) == (OperationStatus.DONE, 10)


async def test_asked_to_go_slower_for_ever() -> None:
    """After ten minutes of 429 an operation failed."""
    clock = ManualClock()
    async with open_rig(error(429, Retry_After="20"), clock=clock) as it:
        begun = clock.elapsed()
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="j")) == ["failed"]
        assert 600 <= clock.elapsed() - begun < 720


async def test_unreachable_is_failed() -> None:
    """An operation that never reached the server has failed, and may be retried."""
    async with BardgeClient("key", f"http://127.0.0.1:{find_free_port()}", retry=RetryPolicy(max_attempts=1)) as bardge:
        outcome = await collect_only_outcome(bardge.batch([make_purchase(1)], job="j"))
        assert (outcome.status, type(outcome.error)) == (OperationStatus.FAILED, errors.ConnectError)
        assert outcome.error is not None
        assert outcome.error.retryable


NO_TOKENS = RetryPolicy(base=1, budget_ratio=0, budget_floor=0)


class Outage(ManualClock):
    """An outage ends after five seconds of waiting on this clock."""

    over: Callable[[], Awaitable[None]]

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if sum(self.sleeps) >= 5 > sum(self.sleeps[:-1]):
            await self.over()


async def test_no_token_fails_nothing() -> None:
    """An operation without a retry token is retried later: an outage does not fail all remaining operations."""
    clock = Outage()
    async with open_rig(reply(), retry=NO_TOKENS, clock=clock) as it:
        it.server.refuse()
        clock.over = it.server.reopen
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="j")) == ["done"]


async def test_no_token_for_long() -> None:
    """Without a token an operation is retried for at most the time of one call, and has then failed."""
    async with open_rig(retry=NO_TOKENS, timeout=30) as it:
        it.server.refuse()
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="j")) == ["failed"]
        assert 30 <= sum(it.clock.sleeps) < 30 + NO_TOKENS.cap


BAD: dict[str, Operation[Any, Any]] = {
    "id": Operation("credits.purchase", request=PURCHASE, id=""),
    "request": Operation("credits.purchase", id="order-1"),
    "path arguments": Operation("bookings.cancel", id="order-1"),
    "booking_id": Operation("bookings.cancel", "..", id="order-1"),
    "lookup_token": Operation("credits.purchase", request=PURCHASE, id="order-1", lookup_token="token"),
}


@pytest.mark.parametrize("named", BAD)
async def test_bad_operation(named: str) -> None:
    """An invalid operation fails alone, with an error that names the fault; the others continue."""
    async with open_rig(reply()) as it:
        found = await collect_outcomes(it.bardge.batch([BAD[named], make_purchase(2)], job="j", ordered=True))
        assert [outcome.status for outcome in found] == ["failed", "done"]
        assert isinstance(found[0].error, errors.InvalidArgumentError)
        assert named in str(found[0].error)
        assert it.request_count == 1


async def test_in_doubt() -> None:
    """An operation that failed in the server is in doubt, and stays so in the next run, without a request."""
    async with open_rig(error(500)) as it:
        found = [await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j")) for _ in range(2)]
        assert [outcome.status for outcome in found] == [OperationStatus.IN_DOUBT] * 2
        assert all(isinstance(outcome.error, errors.OutcomeUnknownError) for outcome in found)
        assert [doubt.idempotency_key for doubt in await it.bardge.in_doubt()] == [found[0].idempotency_key]
        assert it.request_count == 1


async def test_asked_until_answered() -> None:
    """An unanswered operation is retried beyond its call, under its key, while the window is open."""
    async with open_rig(*[cut()] * 5, reply(200, {}, REPLAYED), retry=RetryPolicy(max_attempts=1, base=1)) as it:
        outcome = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        assert (outcome.status, outcome.attempts, len(set(it.keys))) == (OperationStatus.REPLAYED, 6, 1)


async def test_asked_no_longer_than_the_window() -> None:
    """Once the window is closed nothing is sent any more: the operation is in doubt."""
    clock = ManualClock()
    async with open_rig(advance_then(clock, 85, cut()), clock=clock, retry=RetryPolicy(max_attempts=1)) as it:
        assert await collect_statuses(it.bardge.batch([make_purchase(1)], job="j")) == ["in_doubt"]
        assert it.request_count == 1


async def test_done_and_unreadable() -> None:
    """An executed operation is done even if its response cannot be read."""
    async with open_rig(reply(200, ["not", "a", "purchase"])) as it:
        outcome = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        assert (outcome.status, type(outcome.error)) == (OperationStatus.DONE, errors.DecodeError)
        again = await collect_only_outcome(it.bardge.batch([make_purchase(1)], job="j"))
        assert (again.status, it.request_count) == (OperationStatus.SKIPPED, 1)


async def test_one_id_twice() -> None:
    """An id that occurs twice is one operation: it is executed once."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        found = await collect_statuses(bardge.batch([make_purchase(1), make_purchase(1)], job="j"))
        assert sorted(found) == ["done", "skipped"]
        assert len([entry for entry in sandbox.ledger("client_abc123") if entry.idempotency_key]) == 1


async def test_one_id_for_two_requests() -> None:
    """An id that is recorded for a different request fails, and the error names the difference."""
    async with open_rig(reply()) as it:
        operations = [make_purchase(1), make_purchase(1, OTHER)]
        first, second = await collect_outcomes(it.bardge.batch(operations, job="j", ordered=True))
        assert (first.status, second.status, it.request_count) == (OperationStatus.DONE, OperationStatus.FAILED, 1)
        assert "package_id" in str(second.error)


async def test_counts() -> None:
    """The batch counts what it has delivered, by status."""
    async with open_rig(reply(), error(404, "invalid_request_error")) as it:
        batch = it.bardge.batch(make_purchases(3), job="j", concurrency=1)
        await collect_outcomes(batch)
        assert {status: count for status, count in batch.counts.items() if count} == {"done": 1, "refused": 2}


def test_rows_without_a_key() -> None:
    """An endpoint that takes no key is rejected when the operation is made."""
    with pytest.raises(errors.ConfigurationError, match=r"passes\.list takes no idempotency key"):
        Operation("passes.list", id="1")


def test_unknown_row() -> None:
    """An unknown endpoint is rejected when the operation is made."""
    with pytest.raises(errors.ConfigurationError, match="no endpoint is named"):
        Operation("credits.buy", id="1")


def test_the_token_stays_hidden() -> None:
    """The lookup token is not in an operation's repr."""
    operation: Operation[Any, Any] = Operation("access_codes.generate", id="1", lookup_token="secret-token")
    assert "secret-token" not in repr(operation)
