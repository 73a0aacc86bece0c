"""Doubts against the sandbox: what the evidence shows, and how they are settled."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from bardge_async import (
    BardgeClient,
    ClockReading,
    Doubt,
    DoubtVerdict,
    EntryState,
    Finding,
    KeyIdentity,
    RetryPolicy,
    SQLiteJournal,
    errors,
)
from bardge_async import models as m
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.support.rig import PURCHASE

ONCE = RetryPolicy(max_attempts=1)
BOOK = m.BookClass(class_instance_id="ci_abc123", client_id="client_abc123")
ISSUE = m.IssuePass(client_id="client_new_1", pass_id="", first_name="Ngozi", last_name="Okafor")


@attrs.frozen
class Stage:
    sandbox: Sandbox
    bardge: BardgeClient
    clock: ManualClock
    journal: SQLiteJournal

    def pass_time(self, seconds: float) -> None:
        """Advance the client's and the server's time."""
        self.clock.advance(seconds)
        self.sandbox.clock.advance(seconds)

    async def leave_doubt(self, key: str = "order-1", *, happened: bool, request: object = PURCHASE) -> None:
        """Leave a purchase, a pass or a booking in doubt."""
        rows: dict[type[object], str] = {m.PurchaseCredits: "credits.purchase", m.IssuePass: "passes.issue"}
        row = rows.get(type(request), "bookings.initiate_class")
        (self.sandbox.cut_after if happened else self.sandbox.cut_before)(row)
        with pytest.raises(errors.OutcomeUnknownError):
            await self.bardge.send(row, request=request, key=key)

    async def buy(self, key: str, request: m.PurchaseCredits = PURCHASE) -> None:
        await self.bardge.send("credits.purchase", request=request, key=key)


@asynccontextmanager
async def open_stage(folder: Path, **retention: Any) -> AsyncGenerator[Stage]:
    clock = ManualClock(wall=time.time())
    with SQLiteJournal(folder / "journal.db", **retention) as journal:
        async with Sandbox() as sandbox:
            options: dict[str, Any] = {"journal": journal, "clock": clock, "retry": ONCE}
            async with BardgeClient(sandbox.api_key, sandbox.base_url, **options) as bardge:
                yield Stage(sandbox, bardge, clock, journal)


async def get_first_pass(it: Stage) -> str:
    found = await it.bardge.passes.list().first()
    assert found is not None
    return found.id or ""


def join_evidence(verdict: DoubtVerdict) -> str:
    return " | ".join(verdict.evidence)


async def test_credits_happened(tmp_path: Path) -> None:
    """One transaction of the package's amount that no other entry claims: it happened, by inferred fields."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        verdict = await it.bardge.reconcile("order-1")
    assert (verdict.finding, verdict.inferred) == (Finding.HAPPENED, True)
    assert "inferred field" in join_evidence(verdict)


async def test_credits_did_not(tmp_path: Path) -> None:
    """No transaction, 5 minutes after the window: it did not happen."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        it.pass_time(391)
        assert (await it.bardge.reconcile("order-1")).finding is Finding.DID_NOT


async def test_credits_not_ripe(tmp_path: Path) -> None:
    """No transaction, but less than 5 minutes since the window closed: inconclusive."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        it.pass_time(389)
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is Finding.CANNOT_TELL
    assert "5 minutes" in join_evidence(verdict)


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_credits_and_a_wrong_clock(tmp_path: Path, seconds: float) -> None:
    """A wall clock that is off does not make a missing trace prove anything: the server may still be at work."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        if seconds < 0:
            it.pass_time(391)
        it.clock.jump_wall(seconds)
        assert (await it.bardge.reconcile("order-1")).finding is Finding.CANNOT_TELL


async def test_credits_list_does_not_reach_back(tmp_path: Path) -> None:
    """A client without any older transaction: the list does not show that it reaches back."""
    async with open_stage(tmp_path) as it:
        await it.bardge.passes.issue(attrs.evolve(ISSUE, pass_id=await get_first_pass(it)))
        await it.leave_doubt(happened=False, request=m.PurchaseCredits(client_id="client_new_1", package_id="cpkg_50"))
        it.pass_time(400)
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is Finding.CANNOT_TELL
    assert "reaches back" in join_evidence(verdict)


@pytest.mark.parametrize("happened", [False, True])
async def test_finished_rivals_claim_their_traces(tmp_path: Path, *, happened: bool) -> None:
    """Purchases of other entries known as done are attributed to them, even later ones: the rest decides."""
    async with open_stage(tmp_path) as it:
        await it.buy("before")
        await it.buy("beside")
        it.pass_time(60)
        await it.leave_doubt(happened=happened)
        it.pass_time(70)
        await it.buy("after")
        it.pass_time(400)
        await it.buy("much later")
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is (Finding.HAPPENED if happened else Finding.DID_NOT)


@pytest.mark.parametrize("happened", [False, True])
async def test_rivals_near_the_beginning(tmp_path: Path, *, happened: bool) -> None:
    """A rival whose trace may be from before or after the start of the doubt: a trace cannot be attributed."""
    async with open_stage(tmp_path) as it:
        await it.buy("beside")
        it.pass_time(5)
        await it.leave_doubt(happened=happened)
        it.pass_time(400)
        assert (await it.bardge.reconcile("order-1")).finding is Finding.CANNOT_TELL


UNLIKE_PURCHASES = {
    "another client": m.PurchaseCredits(client_id="client_visits_used", package_id="cpkg_50"),
    "another amount": m.PurchaseCredits(client_id="client_abc123", package_id="cpkg_10"),
    "both": m.PurchaseCredits(client_id="client_visits_used", package_id="cpkg_10"),
}


@pytest.mark.parametrize("happened", [False, True])
@pytest.mark.parametrize("request_of_rival", UNLIKE_PURCHASES.values(), ids=UNLIKE_PURCHASES)
async def test_finished_rivals_that_are_not_alike(
    tmp_path: Path, *, request_of_rival: m.PurchaseCredits, happened: bool
) -> None:
    """A done purchase for another client or of another amount claims no trace of this doubt, nor hides one."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=happened)
        it.pass_time(20)
        await it.buy("order-2", request_of_rival)
        it.pass_time(400)
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is (Finding.HAPPENED if happened else Finding.DID_NOT)


@pytest.mark.parametrize("rival_happened", [False, True])
@pytest.mark.parametrize("request_of_rival", UNLIKE_PURCHASES.values(), ids=UNLIKE_PURCHASES)
async def test_rivals_in_doubt_that_are_not_alike(
    tmp_path: Path, *, request_of_rival: m.PurchaseCredits, rival_happened: bool
) -> None:
    """A purchase in doubt for another client or of another amount leaves this doubt's evidence conclusive."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        await it.leave_doubt("order-2", happened=rival_happened, request=request_of_rival)
        it.pass_time(400)
        findings = [(await it.bardge.reconcile(key)).finding for key in ("order-1", "order-2")]
    assert findings == [Finding.HAPPENED, Finding.HAPPENED if rival_happened else Finding.DID_NOT]


@pytest.mark.parametrize("happened", [False, True])
@pytest.mark.parametrize("rival_done", [False, True], ids=["in doubt", "done"])
async def test_rival_bookings_that_are_not_alike(tmp_path: Path, *, rival_done: bool, happened: bool) -> None:
    """A booking of another client claims no trace of this doubt, whether it is done or in doubt itself."""
    rival = attrs.evolve(BOOK, client_id="client_0001")
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=happened, request=BOOK)
        it.pass_time(20)
        await it.leave_doubt("order-2", happened=rival_done, request=rival)
        if rival_done:
            await it.bardge.resolve("order-2", done=True)
        it.pass_time(400)
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is (Finding.HAPPENED if happened else Finding.DID_NOT)


OTHER_ISSUES = [attrs.evolve(ISSUE, client_id="client_new_2"), attrs.evolve(ISSUE, pass_id="pass_other")]


@pytest.mark.parametrize("rival", OTHER_ISSUES, ids=["another client", "another pass"])
@pytest.mark.parametrize("rival_done", [False, True], ids=["in doubt", "done"])
async def test_rival_passes_that_are_not_alike(tmp_path: Path, *, rival_done: bool, rival: m.IssuePass) -> None:
    """A pass for another client, or another pass, claims no trace of this doubt."""
    async with open_stage(tmp_path) as it:
        issue = attrs.evolve(ISSUE, pass_id=await get_first_pass(it))
        await it.leave_doubt(happened=True, request=issue)
        it.pass_time(20)
        other = attrs.evolve(rival, pass_id=rival.pass_id or issue.pass_id)
        await it.leave_doubt("order-2", happened=False, request=other)
        if rival_done:
            await it.bardge.resolve("order-2", done=True)
        assert (await it.bardge.reconcile("order-1")).finding is Finding.HAPPENED


@pytest.mark.parametrize("rival_done", [False, True], ids=["in doubt", "done"])
async def test_rival_pass_that_is_alike(tmp_path: Path, *, rival_done: bool) -> None:
    """The same pass for the same client under another key, done or in doubt, leaves the trace without an owner."""
    async with open_stage(tmp_path) as it:
        issue = attrs.evolve(ISSUE, pass_id=await get_first_pass(it))
        await it.leave_doubt(happened=True, request=issue)
        it.pass_time(20)
        await it.leave_doubt("order-2", happened=False, request=issue)
        if rival_done:
            await it.bardge.resolve("order-2", done=True)
        assert (await it.bardge.reconcile("order-1")).finding is Finding.CANNOT_TELL


async def test_resolve_with_a_rival_that_is_not_alike(tmp_path: Path) -> None:
    """A doubt that happened stays done when it is settled by evidence: the key is not freed for a second charge."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        it.pass_time(20)
        await it.buy("order-2", UNLIKE_PURCHASES["another client"])
        it.pass_time(400)
        await it.bardge.resolve("order-1", by=await it.bardge.reconcile("order-1"))
        with pytest.raises(errors.AlreadyDoneError):
            await it.buy("order-1")


async def test_rivals_in_doubt(tmp_path: Path) -> None:
    """Two doubts and one trace: inconclusive."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        await it.leave_doubt("order-2", happened=False)
        it.pass_time(400)
        findings = {(await it.bardge.reconcile(key)).finding for key in ("order-1", "order-2")}
    assert findings == {Finding.CANNOT_TELL}


async def test_strangers_trace(tmp_path: Path) -> None:
    """Two traces that no entry claims: inconclusive."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        async with BardgeClient(it.sandbox.api_key, it.sandbox.base_url) as stranger:
            await stranger.credits.purchase(PURCHASE)
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is Finding.CANNOT_TELL
    assert "2 traces that no other entry claims" in join_evidence(verdict)


async def test_a_late_trace(tmp_path: Path) -> None:
    """A trace from after the window may be a stranger's or a slow server's: inconclusive."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        it.pass_time(400)
        async with BardgeClient(it.sandbox.api_key, it.sandbox.base_url) as stranger:
            await stranger.credits.purchase(PURCHASE)
        assert (await it.bardge.reconcile("order-1")).finding is Finding.CANNOT_TELL


async def test_missing_trace_of_a_rival(tmp_path: Path) -> None:
    """A list that lacks what another entry knows as done proves nothing."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        it.pass_time(20)
        await it.leave_doubt("order-2", happened=False)
        await it.bardge.resolve("order-2", done=True)
        it.pass_time(400)
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is Finding.CANNOT_TELL
    assert "only 0 traces" in join_evidence(verdict)


async def test_forgotten_rivals(tmp_path: Path) -> None:
    """If entries of that time are no longer recorded, a trace may be theirs."""
    async with open_stage(tmp_path) as it:
        await it.buy("earlier")
        it.pass_time(1)
        await it.leave_doubt(happened=True)
        it.pass_time(400)
        assert await it.journal.prune(it.clock.wall() + 400 * 86_400 - 100) == 1
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is Finding.CANNOT_TELL
    assert "no longer in the journal" in join_evidence(verdict)


@pytest.mark.parametrize(
    ("kept", "finding"),
    [(5, "cannot tell"), (300, "cannot tell"), (609, "cannot tell"), (611, "happened"), (5000, "happened")],
)
async def test_forgotten_rivals_of_the_time_before(tmp_path: Path, kept: float, finding: str) -> None:
    """A trace may be that of an entry last sent up to ten minutes, and the margin, before the doubt, if it is gone."""
    async with open_stage(tmp_path, keep_entries=kept) as it:
        await it.buy("order-0", UNLIKE_PURCHASES["another client"])
        it.pass_time(1000)
        await it.leave_doubt(happened=True)
        await it.journal.prune(it.clock.wall())
        assert (await it.bardge.reconcile("order-1")).finding == finding


async def test_pass_happened(tmp_path: Path) -> None:
    """The client's pass is the one that was requested, made since: it happened."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True, request=attrs.evolve(ISSUE, pass_id=await get_first_pass(it)))
        verdict = await it.bardge.reconcile("order-1")
    assert (verdict.finding, verdict.inferred) == (Finding.HAPPENED, True)


async def test_pass_unknown_client(tmp_path: Path) -> None:
    """A 404 about the client, not about a pass, proves nothing: the path is inferred."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False, request=attrs.evolve(ISSUE, pass_id=await get_first_pass(it)))
        it.pass_time(400)
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is Finding.CANNOT_TELL
    assert "inferred path" in join_evidence(verdict)


@pytest.mark.parametrize("happened", [False, True])
async def test_booking(tmp_path: Path, *, happened: bool) -> None:
    """A class booking made since, or none in a list walked to its end, is conclusive by fields of the vendor's page."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=happened, request=BOOK)
        it.pass_time(400)
        verdict = await it.bardge.reconcile("order-1")
    assert (verdict.finding, verdict.inferred) == (Finding.HAPPENED if happened else Finding.DID_NOT, False)


async def test_bookings_that_were_confirmed(tmp_path: Path) -> None:
    """A booking may also be what a confirmed session left: then the evidence is inconclusive."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True, request=BOOK)
        asked = await it.bardge.bookings.initiate_class(attrs.evolve(BOOK, client_id="client_visits_used"))
        more = m.ConfirmClassBooking(number_of_visits=2, duration="MONTHLY")
        await it.bardge.bookings.confirm_class(asked.session_id or "", more)
        assert (await it.bardge.reconcile("order-1")).finding is Finding.CANNOT_TELL


async def test_rows_without_lists(tmp_path: Path) -> None:
    """Endpoints that leave no trace in a list: inconclusive, and harmless ones may be entered again."""
    async with open_stage(tmp_path) as it:
        it.sandbox.cut_before("passes.update_expiry")
        request = m.UpdateIssuedPassExpiry(expiry_date=dt.date(2027, 12, 31))
        with pytest.raises(errors.BardgeError):
            await it.bardge.send("passes.update_expiry", "client_abc123", request=request, key="order-1")
        verdict = await it.bardge.reconcile("order-1")
    assert verdict.finding is Finding.CANNOT_TELL
    assert "use the key again" in join_evidence(verdict)


async def test_free_rows(tmp_path: Path) -> None:
    """What ``request`` sent and is in doubt is listed, not recovered, and inconclusive."""
    async with open_stage(tmp_path) as it:
        it.sandbox.cut_before()
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.request("POST", "/odd/one", request={"amount": 5}, key="order-1")
        [doubt] = await it.bardge.in_doubt()
        assert (doubt.endpoint, doubt.request) == ("POST /odd/one", {"amount": 5})
        assert (doubt.recoverable, doubt.window_closes_at) == (False, None)
        assert await it.bardge.recover() == []
        assert (await it.bardge.reconcile("order-1")).finding is Finding.CANNOT_TELL


async def test_unproven_keys(tmp_path: Path) -> None:
    """An endpoint that is not known to honour keys has no window, and is not recovered."""
    async with open_stage(tmp_path) as it:
        it.sandbox.cut_before("bookings.cancel")
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.send("bookings.cancel", "booking_1", key="order-1")
        [doubt] = await it.bardge.in_doubt()
        assert (doubt.recoverable, doubt.window_closes_at) == (False, None)
        assert await it.bardge.recover() == []


async def test_doubt(tmp_path: Path) -> None:
    """A doubt has key, endpoint, request, when it was sent and when its window closes."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        begun = dt.datetime.fromtimestamp(it.clock.wall(), dt.UTC)
        [doubt] = await it.bardge.in_doubt()
    assert doubt == Doubt(
        idempotency_key="order-1",
        endpoint="credits.purchase",
        url=it.sandbox.base_url + "/credit_purchases",
        request={"client_id": "client_abc123", "package_id": "cpkg_50"},
        first_sent_at=begun,
        window_closes_at=begun + dt.timedelta(seconds=90),
        recoverable=True,
    )


async def read_state(it: Stage, key: str = "order-1") -> EntryState | None:
    identity = KeyIdentity(it.sandbox.base_url, "", key)
    record = await it.journal.claim(identity, 0, it.clock)
    it.journal.release(identity)
    return None if record is None else record.state


async def test_resolve_done(tmp_path: Path) -> None:
    """``done=True``: entering the key raises AlreadyDoneError, and nothing is in doubt any more."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        await it.bardge.resolve("order-1", done=True)
        with pytest.raises(errors.AlreadyDoneError):
            await it.buy("order-1")
        assert await it.bardge.in_doubt() == []


async def test_resolve_with_the_answer(tmp_path: Path) -> None:
    """``done={...}``: entering the key returns that response."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        await it.bardge.resolve("order-1", done={"object": "credit_purchase", "balance": 7})
        response = await it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")
    assert (response.value.balance, response.replayed) == (7, "journal")


@pytest.mark.parametrize("by_evidence", [False, True])
async def test_resolve_never_happened(tmp_path: Path, *, by_evidence: bool) -> None:
    """``never_happened=True``, or a verdict that says so, frees the key for sending."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        it.pass_time(400)
        verdict = await it.bardge.reconcile("order-1")
        if by_evidence:
            await it.bardge.resolve("order-1", by=verdict)
        else:
            await it.bardge.resolve("order-1", never_happened=True)
        await it.buy("order-1")
        assert await read_state(it) is EntryState.DONE


async def test_resolve_by_evidence_that_it_happened(tmp_path: Path) -> None:
    """A verdict that it happened records that it was done."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        await it.bardge.resolve("order-1", by=await it.bardge.reconcile("order-1"))
        assert await read_state(it) is EntryState.DONE


VERDICT = DoubtVerdict("order-1", dt.datetime(2020, 1, 1, tzinfo=dt.UTC), Finding.DID_NOT, (), inferred=False)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "exactly one"),
    "two ways": ({"done": True, "never_happened": True}, "exactly one"),
    "not done": ({"done": False}, "exactly one"),
    "odd done": ({"done": "yes"}, "expected True"),
    "done that is no JSON": ({"done": {"balance": object()}}, "JSON"),
    "odd verdict": ({"by": "did not"}, "expected a verdict"),
    "another key's verdict": ({"by": attrs.evolve(VERDICT, idempotency_key="order-2")}, "about the key 'order-2'"),
    "verdict that cannot tell": ({"by": attrs.evolve(VERDICT, finding=Finding.CANNOT_TELL)}, "cannot tell"),
    "old verdict": ({"by": VERDICT}, "sent again"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_resolve_refuses(tmp_path: Path, name: str) -> None:
    """An ambiguous decision about this doubt is rejected, and the doubt stays."""
    given, words = REFUSED[name]
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        with pytest.raises(errors.InvalidArgumentError, match=words):
            await it.bardge.resolve("order-1", **given)
        assert await read_state(it) is EntryState.SENT


async def test_resolve_with_what_is_no_answer(tmp_path: Path) -> None:
    """A response that contradicts the vendor's page is rejected: entering the key could not return it."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True, request=BOOK)
        with pytest.raises(errors.InvalidArgumentError, match=r"not a response of bookings\.initiate_class"):
            await it.bardge.resolve("order-1", done={"copay_required": "maybe"})
        assert await read_state(it) is EntryState.SENT


async def test_resolve_what_is_not_in_doubt(tmp_path: Path) -> None:
    """An unknown key and one that is done are rejected."""
    async with open_stage(tmp_path) as it:
        await it.buy("order-2")
        with pytest.raises(errors.InvalidArgumentError, match="is not on record"):
            await it.bardge.resolve("order-1", done=True)
        with pytest.raises(errors.InvalidArgumentError, match="is done, not in doubt"):
            await it.bardge.resolve("order-2", never_happened=True)
        with pytest.raises(errors.InvalidArgumentError, match="not in doubt"):
            await it.bardge.reconcile("order-2")


async def test_resolve_what_is_under_work(tmp_path: Path) -> None:
    """A key that is held by a call cannot be settled."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        identity = KeyIdentity(it.sandbox.base_url, "", "order-1")
        await it.journal.claim(identity, 0, it.clock)
        with pytest.raises(errors.KeyInUseError):
            await it.bardge.resolve("order-1", done=True)
        assert await it.bardge.in_doubt() == []
        it.journal.release(identity)


def test_moment() -> None:
    """A reading returns its instant in UTC."""
    assert ClockReading(0, 0, 0).to_datetime() == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
