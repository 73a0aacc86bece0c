"""Evidence for a doubt: what the server's lists say happened since the key was first sent. Never a guess."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import attrs

from bardge_async._core.entry import EntryState, Record
from bardge_async._core.settings import ReplayWindow
from bardge_async._core.window import Moment, age
from bardge_async._doubts.recovery import DoubtVerdict, Finding, body_of
from bardge_async._resources import Resources
from bardge_async.endpoints import ENDPOINTS, Again
from bardge_async.errors import NotFoundError
from bardge_async.models import BookingType, CreditTransaction, TransactionType

RIVAL_SECONDS: Final = 600.0
"""Seconds before a doubt from which on a journal tells of rivals."""
SETTLED_AFTER: Final = 300.0
"""Seconds after the window's end before a missing trace proves anything."""


@attrs.frozen(eq=False, repr=False)
class Case:
    """A doubt under examination.

    ``rivals`` are other entries that may have left the same traces; ``forgotten`` is the wall time up to which finished
    ones are no longer on record.
    """

    record: Record
    rivals: Sequence[Record]
    now: Moment
    window: ReplayWindow
    forgotten: float = 0.0

    @property
    def earliest(self) -> dt.datetime:
        """When a trace can have been left at the earliest, clocks of two machines allowed for."""
        return self.first - dt.timedelta(seconds=self.window.margin)

    @property
    def latest(self) -> dt.datetime:
        """When at the latest: no attempt begins after the window."""
        return self.first + dt.timedelta(seconds=self.window.length + self.window.margin)

    @property
    def ripe(self) -> bool:
        """Whether the absence of a trace means anything yet."""
        first = self.record.first_sent
        return first is not None and age(first, self.now) >= self.window.length + SETTLED_AFTER

    @property
    def complete(self) -> bool:
        """Whether every entry that may claim a trace is still on record."""
        return self.forgotten < self.earliest.timestamp() - RIVAL_SECONDS

    def covers(self, moment: dt.datetime) -> bool:
        """Tell whether something made then can be this doubt's."""
        return self.earliest <= moment <= self.latest

    def since(self, moments: Sequence[dt.datetime | None]) -> tuple[dt.datetime | None, ...]:
        """Leave out what was made before this doubt for certain."""
        return tuple(moment for moment in moments if moment is None or moment >= self.earliest)

    @property
    def first(self) -> dt.datetime:
        """When the key was first sent."""
        assert self.record.first_sent is not None  # noqa: S101 - a doubt was sent
        return self.record.first_sent.at()


@attrs.frozen(eq=False, repr=False)
class Traces:
    """What was found.

    ``moments`` are those of all traces of the doubt's kind since it began, however late; ``alike`` tells whether another
    request of the row leaves the same; ``reaches_back`` whether the list goes back to before the first send.
    """

    moments: tuple[dt.datetime | None, ...]
    alike: Callable[[Mapping[str, Any]], bool]
    reaches_back: bool
    evidence: tuple[str, ...]
    inferred: bool


@attrs.frozen(eq=False, repr=False)
class Claims:
    """What other entries leave: ``certain`` traces since the doubt began, ``near`` of them perhaps in its window."""

    certain: int
    near: int
    open: bool


async def reconcile(client: Resources, case: Case) -> DoubtVerdict:
    """Look for the traces of a doubt.

    Raises:
        BardgeError: The lists could not be read.
    """
    examine = _EXAMINERS.get(case.record.endpoint)
    key, first = case.record.identity.key, case.first
    if examine is None:
        words = f"no list of the API shows what {case.record.endpoint} leaves behind"
        row = ENDPOINTS.get(case.record.endpoint)
        if row is not None and row.again is Again.SAME:
            words += "; a second execution changes nothing: enter the key again"
        return DoubtVerdict(key, first, Finding.CANNOT_TELL, (words,), inferred=False)
    traces = await examine(client, case, body_of(case.record) or {})
    finding, why = _weigh(case, traces)
    return DoubtVerdict(key, first, finding, (*traces.evidence, why), traces.inferred)


def _weigh(case: Case, traces: Traces) -> tuple[Finding, str]:
    claims = _claims(case, traces)
    found, left = len(traces.moments), len(traces.moments) - claims.certain
    unclear = _unclear(case, traces, claims)
    if unclear is not None:
        return Finding.CANNOT_TELL, unclear
    if left:
        within = sum(moment is not None and case.covers(moment) for moment in traces.moments)
        if within > claims.near:
            return Finding.HAPPENED, "exactly one trace that no other entry claims"
        return Finding.CANNOT_TELL, f"{found} traces, and the one that no other entry claims may be too late"
    if not traces.reaches_back:
        return Finding.CANNOT_TELL, "no trace, but the list does not show that it reaches back before the first send"
    if not case.ripe:
        return Finding.CANNOT_TELL, "no trace yet; it proves something 5 minutes after the window has closed"
    return Finding.DID_NOT, "no trace, in a list that reaches back before the first send"


def _unclear(case: Case, traces: Traces, claims: Claims) -> str | None:
    """Tell why traces and entries cannot be matched, if so."""
    left = len(traces.moments) - claims.certain
    if None in traces.moments:
        return "traces that do not say when they were left"
    if left < 0:
        return f"{claims.certain} other entries were done, and only {len(traces.moments)} traces are there"
    if left and claims.open:
        return f"{left} traces, which other entries may have left"
    if left and not case.complete:
        return f"{left} traces, and entries that may claim them are no longer on record"
    return f"{left} traces that no other entry claims" if left > 1 else None


def _claims(case: Case, traces: Traces) -> Claims:
    certain = near = 0
    unsure = False
    margin = dt.timedelta(seconds=case.window.margin)
    for rival in case.rivals:
        body = body_of(rival) if rival.endpoint == case.record.endpoint else None
        if (body is not None and not traces.alike(body)) or rival.first_sent is None or rival.last_sent is None:
            continue
        begin, end = rival.first_sent.at() - margin, rival.last_sent.at() + margin
        if end < case.earliest:
            continue
        if rival.state is EntryState.DONE and body is not None and begin >= case.earliest:
            certain += 1
            near += begin <= case.latest
        else:
            unsure = True
    return Claims(certain, near, unsure)


async def _credits(client: Resources, case: Case, body: Mapping[str, Any]) -> Traces:
    amounts = {package.id: package.credits async for package in client.credits.list_packages()}
    amount = amounts.get(str(body.get("package_id")))

    def alike(other: Mapping[str, Any]) -> bool:
        theirs = amounts.get(str(other.get("package_id")))
        return other.get("client_id") == body.get("client_id") and theirs in {amount, None}

    if amount is None:
        words = "the package's amount of credits is not known (inferred field)"
        return Traces((), alike, reaches_back=False, evidence=(words,), inferred=True)
    found = await client.clients.get_credits(str(body.get("client_id")))
    moves = found.transactions or ()
    moments = case.since([move.timestamp for move in moves if _is_purchase(move, amount)])
    evidence = (
        f"{len(moments)} CREDIT transactions of {amount} since {case.earliest}",
        "the amount comes from CreditPackage.credits (inferred field)",
    )
    # The newest ones only may be shown: an older one proves that none is missing.
    reaches_back = any(move.timestamp is not None and move.timestamp < case.earliest for move in moves)
    return Traces(moments, alike, reaches_back, evidence, inferred=True)


def _is_purchase(move: CreditTransaction, amount: Decimal) -> bool:
    return move.type == TransactionType.CREDIT and move.amount == amount


async def _issue(client: Resources, case: Case, body: Mapping[str, Any]) -> Traces:
    def alike(other: Mapping[str, Any]) -> bool:
        return all(other.get(name) == body.get(name) for name in ("client_id", "pass_id"))

    try:
        issued = await client.passes.get_issued(str(body.get("client_id")))
    except NotFoundError as error:
        # Any other 404 may mean that the path is wrong, which is inferred.
        known = error.code == "pass_not_found"
        words = f"the client's issued pass: 404 {error.code} (inferred path)"
        return Traces((), alike, reaches_back=known, evidence=(words,), inferred=True)
    moments = case.since([issued.created]) if issued.pass_id == body.get("pass_id") else ()
    words = f"the client's pass is {issued.id} of {issued.pass_id}, created {issued.created} (inferred path)"
    # Only one pass is shown: an older one does not prove that no newer one exists.
    return Traces(moments, alike, reaches_back=False, evidence=(words,), inferred=True)


def _bookings(kind: BookingType) -> Callable[[Resources, Case, Mapping[str, Any]], Awaitable[Traces]]:
    async def examine(client: Resources, case: Case, body: Mapping[str, Any]) -> Traces:
        def alike(other: Mapping[str, Any]) -> bool:
            return other.get("client_id") == body.get("client_id")

        # To the end of the list: its order is not documented.
        walk = client.bookings.list_for_client(str(body.get("client_id")))
        # One without a type may be of this.
        made = [b.created if b.type == kind else None async for b in walk if b.type in {kind, None}]
        moments = case.since(made)
        words = f"{len(moments)} bookings of type {kind.value} made since {case.earliest}"
        return Traces(moments, alike, reaches_back=True, evidence=(words,), inferred=False)

    return examine


_EXAMINERS: Final[Mapping[str, Callable[[Resources, Case, Mapping[str, Any]], Awaitable[Traces]]]] = {
    "credits.purchase": _credits,
    "passes.issue": _issue,
    "bookings.initiate_class": _bookings(BookingType.CLASS),
    "bookings.initiate_spa": _bookings(BookingType.SPA),
}
