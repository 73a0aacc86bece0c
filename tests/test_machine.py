"""Calls, faults, clocks and re-entry in any order: hypothesis searches for a double charge or a wrong report."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Final

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from multidict import CIMultiDict

from bardge_async import (
    AttemptLimits,
    BardgeClient,
    JournalEntry,
    KeyIdentity,
    MemoryJournal,
    RetryPolicy,
    WireRequest,
    WireResponse,
    errors,
)
from bardge_async.errors import BardgeError, ConnectError, NoAnswerError
from bardge_async.testing import ManualClock
from campaigns.window.ledger import RUNNING, Fate, Received, Rules, Said, Store, failure
from campaigns.window.operations import KINDS, Delivery
from campaigns.window.verdicts import Ended, check, check_journal

VENDOR: Final = "https://api.example/v3"
FATES: Final = {
    "500 before": Fate.FAIL_BEFORE,
    "500 cached": Fate.FAIL_CACHED,
    "500 after": Fate.FAIL_AFTER,
    "500 kept": Fate.FAIL_AFTER_KEPT,
    "500 forgotten": Fate.FAIL_AFTER_FORGOTTEN,
}
ANSWERS: Final = {
    "401": failure(401, "authentication_error", "token_expired"),
    "429": failure(429, "api_error"),
    "running": RUNNING,
}
CUTS: Final = ("cut before", "cut after", "hang before", "hang after", "page", "cancel before", "cancel after")
PLAYS: Final = ("well", "well", "slow", "refused", *CUTS, *CUTS, *CUTS, *FATES, *ANSWERS)


class Wire:
    """A Transport without a network: it plays its script, against the campaign's key store and ledger."""

    def __init__(self, clock: ManualClock, rules: Rules) -> None:
        self.store = Store(rules, clock.elapsed)
        self.script: list[str] = []
        self.delivery = 0
        self.requests = 0
        self.arrived = 0
        self.doubts: dict[str | None, tuple[float, float]] = {}
        self.failed: set[str | None] = set()
        self._clock = clock

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        self.requests += 1
        play = self.script.pop(0) if self.script else "well"
        if play == "refused":
            raise ConnectError("refused")
        self.arrived += 1
        key = request.headers.get("Idempotency-Key")
        if play not in {"401", "429"}:
            self.doubts.setdefault(key, (self._clock.elapsed(), self._clock.wall()))
        path = request.url.removeprefix(VENDOR)
        received = Received(request.method, path, key, request.body or b"", self.delivery, self._clock.elapsed())
        return await self._play(play, received, limits)

    async def _play(self, play: str, received: Received, limits: AttemptLimits) -> WireResponse:
        if play in ANSWERS:
            return make_response(ANSWERS[play])
        said = None
        if not play.endswith("before") or play in FATES:
            said = await self.store.handle(received, FATES.get(play, Fate.WELL))
        await self._fail(play, limits)
        if said is None or play == "page":
            return WireResponse(200, CIMultiDict(), b"<html>")
        if said.status == 500 and not said.replayed:
            self.failed.add(received.key)
        return make_response(said)

    async def _fail(self, play: str, limits: AttemptLimits) -> None:
        if play.startswith("cancel"):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        if play == "slow":
            self._clock.advance(limits.answer / 2)
        if play.startswith("hang"):
            self._clock.advance(limits.answer)
        if play.startswith(("hang", "cut")):
            raise NoAnswerError("no answer")

    async def aclose(self) -> None:
        """Close nothing."""


def make_response(said: Said) -> WireResponse:
    headers = CIMultiDict({"X-Idempotent-Replayed": "true"} if said.replayed else {})
    return WireResponse(said.status, headers, json.dumps(said.payload).encode())


async def catch_result(delivery: Delivery, client: BardgeClient) -> object:
    try:
        return await delivery.make(client)
    except (BardgeError, asyncio.CancelledError) as raised:
        return raised


class Machine(RuleBasedStateMachine):
    """Deliver a few operations repeatedly while everything around them fails and the clocks move."""

    @initialize(
        rules=st.builds(Rules, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
        attempts=st.sampled_from([1, 1, 1, 2, 4, 20]),
        total=st.sampled_from([15.0, 60.0, 300.0]),
    )
    def start(self, rules: Rules, attempts: int, total: float) -> None:
        logging.getLogger("bardge_async").setLevel(logging.CRITICAL)
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.wire = Wire(self.clock, rules)
        self.journal = MemoryJournal()
        self.ends: list[Ended] = []
        self.finished: dict[str, float] = {}
        self.highest = self.clock.wall()
        self.last: Delivery | None = None
        policy = RetryPolicy(max_attempts=attempts, budget_floor=100_000)
        self.client = BardgeClient(
            "key", VENDOR, transport=self.wire, clock=self.clock, journal=self.journal, retry=policy, timeout=total
        )

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.client.aclose())
            assert not asyncio.all_tasks(self.loop)
            self.loop.close()
            logging.getLogger("bardge_async").setLevel(logging.NOTSET)

    @rule(
        name=st.sampled_from(["purchase", "purchase", "purchase", "issue", "expiry", "reschedule", "cancel", "lookup"]),
        number=st.integers(1, 2),
        variant=st.sampled_from(["good", "good", "good", "other", "wrong"]),
        by=st.sampled_from(["block", "twice in a block", "send"]),
        script=st.lists(st.sampled_from(PLAYS), min_size=1, max_size=5),
    )
    def deliver(self, name: str, number: int, variant: str, by: str, script: list[str]) -> None:
        """Make a call, repeatedly under the same key, with the same body or another."""
        kind, op = KINDS[name], f"{name}-{number}"
        if variant not in kind.variants:
            variant = "good"
        if name == "lookup":
            by, op = "bare", f"{op}-{len(self.ends)}"
        key = None if name == "lookup" else op
        self._run(Delivery(len(self.ends) + 1, op, kind, variant, key, by), script)

    @precondition(lambda self: self.last is not None)
    @rule(
        variant=st.sampled_from(["", "", "", "good", "other"]),
        wait=st.sampled_from([0.0, 5.0, 78.0, 80.0, 82.0, 85.0, 89.5, 95.0]),
        script=st.lists(st.sampled_from(PLAYS), max_size=3),
    )
    def deliver_again(self, variant: str, wait: float, script: list[str]) -> None:
        """Make the last call again after a while, as a queue's redelivery."""
        last = self.last
        assert last is not None
        self.clock.advance(wait)
        variant = variant if variant in last.kind.variants else last.variant
        self._run(attrs.evolve(last, number=len(self.ends) + 1, variant=variant, by="block"), script)

    def _run(self, delivery: Delivery, script: list[str]) -> None:
        self.last = delivery if delivery.key is not None else None
        wire, op = self.wire, delivery.op
        if self.clock.elapsed() - self.finished.get(op, self.clock.elapsed()) > 800:
            # The journal keeps finished entries for 15 minutes, and promises no more.
            return
        silent, speaks = self._must_be_silent(delivery), self._must_speak(delivery)
        wire.script, wire.delivery, wire.requests, wire.arrived = list(script), delivery.number, 0, 0
        ended = Ended(
            delivery, self.loop.run_until_complete(catch_result(delivery, self.client)), wire.requests, wire.arrived
        )
        self.ends.append(ended)
        check(ended, wire.store.ledger)
        assert not (silent and ended.requests), f"sent too late, or on a forgotten key: {ended}"
        assert not speaks or ended.requests or isinstance(ended.outcome, errors.IdempotencyMisuseError), f"{ended}"
        if delivery.key is not None:
            record = self.loop.run_until_complete(self._record(delivery.key))
            check_journal(ended, record, wire.store.ledger, alone=True)
        if isinstance(ended.outcome, errors.OutcomeUnknownError | asyncio.CancelledError):
            return
        if ended.requests:
            # A replay from the journal does not renew its retention, which counts from the last send.
            self.finished[op] = self.clock.elapsed()
        if not isinstance(ended.outcome, errors.IdempotencyMisuseError):
            wire.doubts.pop(delivery.key, None)

    async def _record(self, key: str) -> JournalEntry | None:
        identity = KeyIdentity(VENDOR, "", key)
        record = await self.journal.claim(identity, 0.0, self.clock)
        self.journal.release(identity)
        return record

    def _must_be_silent(self, delivery: Delivery) -> bool:
        """Return whether the key is in doubt, and is or may be forgotten, or protects nothing."""
        begun = self.wire.doubts.get(delivery.key)
        if begun is None or delivery.kind.again == "same" or delivery.key is None:
            return False
        unprotected = delivery.kind.again in {"twice?", "conflict?"}
        return unprotected or delivery.key in self.wire.failed or self.clock.elapsed() - begun[0] >= 80

    def _must_speak(self, delivery: Delivery) -> bool:
        """Return whether the key is in doubt, and a repeat may learn more: the window is open by every clock."""
        begun = self.wire.doubts.get(delivery.key)
        if begun is None or self._must_be_silent(delivery) or delivery.key is None:
            return False
        return max(self.clock.elapsed() - begun[0], self.highest - begun[1]) < 70

    @rule(seconds=st.sampled_from([0.5, 5.0, 30.0, 75.0, 85.0, 89.0, 91.0, 200.0]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass, or suspend the machine: the boot-time clock advances in either case."""
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-86_400.0, -100.0, -10.0, 10.0, 100.0, 86_400.0]))
    def jump(self, seconds: float) -> None:
        """Let the wall clock jump."""
        self.clock.jump_wall(seconds)

    @invariant()
    def ledger_agrees(self) -> None:
        """Check that everything reported so far is still true."""
        if hasattr(self, "loop"):
            self.highest = max(self.highest, self.clock.wall())
            for ended in self.ends:
                check(ended, self.wire.store.ledger)


Machine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestMachine = Machine.TestCase
