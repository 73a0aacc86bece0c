"""Scenarios for the lines of "What happens when…" that are about batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from bardge_async import BardgeClient, Operation, RetryPolicy, SQLiteJournal, errors
from bardge_async.sandbox import Sandbox
from tests.batch.operations import collect_outcomes, collect_statuses, make_purchase, make_purchases
from tests.support.rig import PURCHASE, open_rig
from tests.support.server import cut, error, reply

REPLAYED = reply(201, {"balance": 5}, {"X-Idempotent-Replayed": "true"})


async def play_run_again() -> None:
    with TemporaryDirectory() as folder:
        async with Sandbox() as sandbox:
            for count in (20, 50, 50):
                with SQLiteJournal(Path(folder) / "journal.db") as journal:
                    async with BardgeClient(sandbox.api_key, sandbox.base_url, journal=journal) as bardge:
                        found = await collect_statuses(bardge.batch(make_purchases(count), job="j"))
            charged = [entry.idempotency_key for entry in sandbox.ledger("client_abc123") if entry.idempotency_key]
        assert found == ["skipped"] * 50
        assert len(charged) == len(set(charged)) == 50


async def play_doubt_in_a_batch() -> None:
    async with open_rig(*[cut()] * 3, REPLAYED, retry=RetryPolicy(max_attempts=1, base=0)) as it:
        assert await collect_statuses(it.bardge.batch(make_purchases(1), job="j")) == ["replayed"]
        assert len(set(it.keys)) == 1
    async with open_rig(error(500)) as it:
        assert await collect_statuses(it.bardge.batch(make_purchases(1), job="j")) == ["in_doubt"]
        assert len(await it.bardge.in_doubt()) == 1


async def play_one_bad_row() -> None:
    bad: Operation[object, object] = Operation("credits.purchase", request=PURCHASE, id="")
    async with open_rig(error(404, "invalid_request_error", "resource_not_found"), reply()) as it:
        found = await collect_outcomes(
            it.bardge.batch([bad, make_purchase(1), make_purchase(2)], job="j", ordered=True, concurrency=1)
        )
    assert [outcome.status for outcome in found] == ["failed", "refused", "done"]
    assert [type(outcome.error) for outcome in found[:2]] == [errors.InvalidArgumentError, errors.NotFoundError]
    assert "expected your own id for the operation" in str(found[0].error)


async def play_all_rows_bad() -> None:
    async with open_rig(error(403, "permission_error", "account_disabled")) as it:
        with pytest.raises(errors.PermissionDeniedError):
            await collect_outcomes(it.bardge.batch(make_purchases(1000), job="j", concurrency=2))
        assert it.request_count <= 4


BATCHES: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    "batch killed, run again": play_run_again,
    "doubt in a batch": play_doubt_in_a_batch,
    "one bad row in a batch": play_one_bad_row,
    "wrong API key, disabled account in a batch": play_all_rows_bad,
}
