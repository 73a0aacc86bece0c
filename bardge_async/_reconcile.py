"""Evidence for a doubt: what the server's lists say happened since the key was first sent. Never a guess."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import attrs

from bardge_async._doubts import DoubtVerdict, Finding, body_of
from bardge_async._record import EntryState, Record
from bardge_async._resources import Resources
from bardge_async._settings import ReplayWindow
from bardge_async._window import Moment, age
from bardge_async.errors import NotFoundError
from bardge_async.models import Booking, BookingType, CreditTransaction, TransactionType

SETTLED_AFTER: Final = 300.0
"""Seconds after the window's end before a missing trace proves anything."""


@attrs.frozen
class Case:
    """A doubt under examination: ``rivals`` are other entries that may have left the same traces."""

    record: Record
    rivals: Sequence[Record]
    now: Moment
    window: ReplayWindow

    @property
    def earliest(self) -> dt.datetime:
        """When a trace can have been left at the earliest, clocks of two machines allowed for."""
        return self._first() - dt.timedelta(seconds=self.window.margin)

    @property
    def latest(self) -> dt.datetime:
        """When at the latest: no attempt begins after the window."""
        return self._first() + dt.timedelta(seconds=self.window.length + self.window.margin)

    @property
    def ripe(self) -> bool:
        """Whether the absence of a trace means anything yet."""
        first = self.record.first_sent
        return first is not None and age(first, self.now) >= self.window.length + SETTLED_AFTER

    def covers(self, moment: dt.datetime | None) -> bool:
        """Tell whether something made then can be this doubt's."""
        return moment is not None and self.earliest <= moment <= self.latest

    def _first(self) -> dt.datetime:
        assert self.record.first_sent is not None  # noqa: S101 - a doubt was sent
        return self.record.first_sent.at()


@attrs.frozen
class Traces:
    """What was found: how many candidates, and whether the list reaches back before the first send."""

    candidates: int
    reaches_back: bool
    evidence: tuple[str, ...]
    inferred: bool


async def reconcile(client: Resources, case: Case) -> DoubtVerdict:
    """Look for the traces of a doubt.

    Raises:
        BardgeError: The lists could not be read.
    """
    examine = _EXAMINERS.get(case.record.endpoint)
    key = case.record.identity.key
    if examine is None:
        words = f"no list of the API shows what {case.record.endpoint} leaves behind"
        return DoubtVerdict(key, Finding.CANNOT_TELL, (words,), inferred=False)
    traces = await examine(client, case, body_of(case.record) or {})
    finding, why = _weigh(case, traces)
    return DoubtVerdict(key, finding, (*traces.evidence, why), traces.inferred)


def _weigh(case: Case, traces: Traces) -> tuple[Finding, str]:
    done = [rival for rival in case.rivals if rival.state is EntryState.DONE and rival.body is not None]
    open_rivals = len(case.rivals) - len(done)
    unclaimed = traces.candidates - len(done)
    if traces.candidates and (open_rivals or not all(_inside(case, rival) for rival in done)):
        return Finding.CANNOT_TELL, f"{traces.candidates} traces, which other entries may have left"
    if unclaimed == 1:
        return Finding.HAPPENED, "exactly one trace that no other entry claims"
    if unclaimed > 1:
        return Finding.CANNOT_TELL, f"{unclaimed} traces that no other entry claims"
    if not traces.reaches_back:
        return Finding.CANNOT_TELL, "no trace, but the list does not reach back before the first send"
    if not case.ripe:
        return Finding.CANNOT_TELL, "no trace yet; it proves something 5 minutes after the window has closed"
    return Finding.DID_NOT, "no trace, in a list that reaches back before the first send"


def _inside(case: Case, rival: Record) -> bool:
    """Tell whether a finished entry left its trace among the candidates for certain, whatever the clocks."""
    first, last = rival.first_sent, rival.last_sent
    margin = dt.timedelta(seconds=case.window.margin)
    return (
        first is not None
        and last is not None
        and (case.covers(first.at() - margin) and case.covers(last.at() + margin))
    )


async def _credits(client: Resources, case: Case, body: Mapping[str, Any]) -> Traces:
    amount = await _package_credits(client, str(body.get("package_id")))
    if amount is None:
        return Traces(0, False, ("the package's amount of credits is not known (inferred field)",), inferred=True)
    found = await client.clients.get_credits(str(body.get("client_id")))
    moves = found.transactions or ()
    matching = [move for move in moves if _is_purchase(move, amount) and case.covers(move.timestamp)]
    evidence = (
        f"{len(matching)} CREDIT transactions of {amount} between {case.earliest} and {case.latest}",
        "the amount comes from CreditPackage.credits (inferred field)",
    )
    return Traces(len(matching), _reach_back(case, [move.timestamp for move in moves]), evidence, inferred=True)


def _is_purchase(move: CreditTransaction, amount: Decimal) -> bool:
    return move.type == TransactionType.CREDIT and move.amount == amount


async def _package_credits(client: Resources, package_id: str) -> Decimal | None:
    async for package in client.credits.list_packages():
        if package.id == package_id:
            return package.credits
    return None


def _reach_back(case: Case, moments: Sequence[dt.datetime | None]) -> bool:
    return not moments or any(moment is not None and moment < case.earliest for moment in moments)


async def _issue(client: Resources, case: Case, body: Mapping[str, Any]) -> Traces:
    try:
        issued = await client.passes.get_issued(str(body.get("client_id")))
    except NotFoundError:
        return Traces(0, True, ("the client has no issued pass (inferred path)",), inferred=True)
    same = issued.pass_id == body.get("pass_id") and case.covers(issued.created)
    words = f"the client's pass is {issued.id} of {issued.pass_id}, created {issued.created} (inferred path)"
    # Only one pass is shown: an older one does not prove that no newer one exists.
    return Traces(int(same), False, (words,), inferred=True)


def _bookings(kind: BookingType) -> Callable[[Resources, Case, Mapping[str, Any]], Awaitable[Traces]]:
    async def examine(client: Resources, case: Case, body: Mapping[str, Any]) -> Traces:
        candidates = 0
        seen: list[dt.datetime | None] = []
        async for booking in client.bookings.list_for_client(str(body.get("client_id"))):
            seen.append(booking.created)
            candidates += _is_booking(case, booking, kind)
            if booking.created is not None and booking.created < case.earliest:
                break
        words = f"{candidates} bookings of type {kind.value} made between {case.earliest} and {case.latest}"
        # The walk goes to the list's end, or to a booking from before.
        return Traces(candidates, True, (words,), inferred=False)

    return examine


def _is_booking(case: Case, booking: Booking, kind: BookingType) -> bool:
    return booking.type == kind and case.covers(booking.created)


_EXAMINERS: Final[Mapping[str, Callable[[Resources, Case, Mapping[str, Any]], Awaitable[Traces]]]] = {
    "credits.purchase": _credits,
    "passes.issue": _issue,
    "bookings.initiate_class": _bookings(BookingType.CLASS),
    "bookings.initiate_spa": _bookings(BookingType.SPA),
}


def rivals_of(record: Record, others: Sequence[Record]) -> list[Record]:
    """Pick the entries that may have left the same traces: for the same client, and for credits the same package.

    An entry whose body is not kept may be any client's.
    """
    mine = body_of(record) or {}
    return [other for other in others if other.body is None or _alike(mine, body_of(other) or {})]


def _alike(mine: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(mine.get(name) == other.get(name) for name in ("client_id", "package_id"))
