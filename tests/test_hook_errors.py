"""Hooks that raise what ends a task or a process: outcome and journal are as without hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bardge_async import (
    BardgeClient,
    Event,
    Journal,
    JournalEntry,
    MemoryJournal,
    RetryPolicy,
    SQLiteJournal,
    errors,
)
from tests.support.calls import buy, fail_to_buy
from tests.support.rig import open_rig
from tests.support.server import cut, error, reply

REPLAYED = reply(201, {"balance": 5}, {"X-Idempotent-Replayed": "true"})
STEPS = {"AttemptStarted", "AttemptEnded", "DoubtOpened", "RetryScheduled", "DoubtResolved"}


class FatalError(BaseException):
    """An error that no ``except Exception`` sees."""


def raise_on(name: str, raised: BaseException, told: list[str] | None = None) -> Callable[[Event], None]:
    """Return a hook that raises at the first event of a name."""
    seen = list[str]() if told is None else told

    def tell(event: Event) -> None:
        seen.append(type(event).__name__)
        if seen[-1] == name and seen.count(name) == 1:
            raise raised

    return tell


def open_journal(kind: str, folder: Path) -> Journal:
    return MemoryJournal() if kind == "memory" else SQLiteJournal(folder / "journal.db")


@pytest.mark.parametrize("name", sorted(STEPS))
@pytest.mark.parametrize("raised", [asyncio.CancelledError(), GeneratorExit(), FatalError()], ids=repr)
async def test_hooks_change_nothing(name: str, raised: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a hook raises, at any event, is logged; the outcome is the same, and the next hook is told."""
    told: list[str] = []
    async with open_rig(cut(), REPLAYED, hooks=[raise_on(name, raised), raise_on("", raised, told)]) as it:
        first, second = await buy(it.bardge), await buy(it.bardge)
        assert await it.bardge.in_doubt() == []
    assert (first.attempts, first.replayed, second.replayed, it.request_count) == (2, "server", "journal", 2)
    assert set(told) == STEPS
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [raised]


@pytest.mark.parametrize("journal", ["memory", "file"])
@pytest.mark.parametrize("name", ["AttemptEnded", "DoubtResolved"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_end_of_the_process(journal: str, name: str, raised: BaseException, tmp_path: Path) -> None:
    """KeyboardInterrupt and SystemExit of a hook pass on once the outcome is recorded."""
    # The last attempt is the one whose end the hook ends the process at.
    script = [REPLAYED] if name == "AttemptEnded" else [cut(), REPLAYED]
    async with open_rig(*script, journal=open_journal(journal, tmp_path), hooks=[raise_on(name, raised)]) as it:
        with pytest.raises(type(raised)):
            await buy(it.bardge)
        assert (await buy(it.bardge.with_options(hooks=[]))).replayed == "journal"
        assert it.request_count == len(script)


@pytest.mark.parametrize("journal", ["memory", "file"])
async def test_refusal_is_recorded_first(journal: str, tmp_path: Path) -> None:
    """A refusal is on record, too, before a hook that ends the process is told of it."""
    hook = raise_on("AttemptEnded", SystemExit(3))
    async with open_rig(error(400), journal=open_journal(journal, tmp_path), hooks=[hook]) as it:
        with pytest.raises(SystemExit):
            await buy(it.bardge)
        assert await it.bardge.in_doubt() == []


@pytest.mark.parametrize("journal", ["memory", "file"])
async def test_connection_refused_is_recorded_first(journal: str, tmp_path: Path) -> None:
    """What was proved not sent leaves no doubt if a hook ends the process there."""
    hook = raise_on("AttemptEnded", SystemExit(3))
    async with open_rig(journal=open_journal(journal, tmp_path), hooks=[hook]) as it:
        it.server.refuse()
        with pytest.raises(SystemExit):
            await buy(it.bardge)
        assert await it.bardge.in_doubt() == []


@pytest.mark.parametrize("journal", ["memory", "file"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_end_before_the_first_byte(journal: str, raised: BaseException, tmp_path: Path) -> None:
    """A hook that ends the process before a request is sent leaves no doubt about it."""
    hook = raise_on("AttemptStarted", raised)
    async with open_rig(REPLAYED, journal=open_journal(journal, tmp_path), hooks=[hook]) as it:
        with pytest.raises(type(raised)):
            await buy(it.bardge)
        assert (await it.bardge.in_doubt(), it.request_count) == ([], 0)
        assert (await buy(it.bardge)).attempts == 1


async def test_end_between_two_sends() -> None:
    """A hook that ends the process before the repeat of an unanswered POST leaves the doubt on record."""
    told: list[str] = []

    def stop_at_second_start(event: Event) -> None:
        told.append(type(event).__name__)
        if told.count("AttemptStarted") == 2:
            raise SystemExit(3)

    async with open_rig(cut(), REPLAYED, hooks=[stop_at_second_start]) as it:
        with pytest.raises(SystemExit):
            await buy(it.bardge)
        [doubt] = await it.bardge.in_doubt()
    assert (doubt.idempotency_key, it.request_count) == ("order-1", 1)


class RecordingJournal(MemoryJournal):
    """A journal that notes each state that it is given."""

    def __init__(self, order: list[str]) -> None:
        super().__init__()
        self._order = order

    async def put(self, entry: JournalEntry) -> None:
        await super().put(entry)
        self._order.append(entry.state.value)


@pytest.mark.parametrize(("step", "state"), [(REPLAYED, "done"), (error(400), "refused")])
async def test_outcome_is_on_record_when_told(step: object, state: str) -> None:
    """Hooks are told of an outcome after it was recorded."""
    order: list[str] = []
    hook = raise_on("", FatalError(), order)
    async with open_rig(cut(), step, hooks=[hook], journal=RecordingJournal(order)) as it:  # type: ignore[arg-type]
        with suppress(errors.BardgeError):
            await buy(it.bardge)
    assert order == [
        "sent",
        "AttemptStarted",
        "AttemptEnded",
        "DoubtOpened",
        "RetryScheduled",
        "AttemptStarted",
        state,
        "AttemptEnded",
        "DoubtResolved",
    ]


async def test_cancellation_during_the_record_is_told() -> None:
    """The end of an attempt is told even if the call is cancelled while its outcome is being recorded."""
    told: list[str] = []

    class CancellingJournal(MemoryJournal):
        async def put(self, entry: JournalEntry) -> None:
            await super().put(entry)
            if entry.state.value == "done" and (task := asyncio.current_task()) and not task.cancelling():
                task.cancel()
                await asyncio.sleep(0)

    async def buy_and_catch(bardge: BardgeClient) -> None:
        with pytest.raises(asyncio.CancelledError):
            await buy(bardge)

    async with open_rig(REPLAYED, hooks=[raise_on("", FatalError(), told)], journal=CancellingJournal()) as it:
        task = asyncio.ensure_future(buy_and_catch(it.bardge))
        await task
        assert (await buy(it.bardge)).replayed == "journal"
    assert told == ["AttemptStarted", "AttemptEnded"]


async def test_cancelled_hook_at_a_lost_call() -> None:
    """A hook that raises GeneratorExit when a call ends in doubt does not hide OutcomeUnknownError."""
    hook = raise_on("DoubtOpened", GeneratorExit())
    async with open_rig(cut(), hooks=[hook], retry=RetryPolicy(max_attempts=1)) as it:
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
