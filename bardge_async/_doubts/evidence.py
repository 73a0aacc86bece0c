"""Evidence for a doubt: what the server's lists show since the key was first sent. Never a guess."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import attrs

from bardge_async._core.entry import COMPETING_SECONDS, EntryState, JournalEntry
from bardge_async._core.settings import ReplayWindow
from bardge_async._core.window import ClockReading, proven_age
from bardge_async._doubts.recovery import DoubtVerdict, Finding, body_of
from bardge_async._resources import Resources
from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import NotFoundError
from bardge_async.models import BookingType, CreditTransaction, TransactionType

CONCLUSIVE_AFTER: Final = 300.0
"""Seconds after the window has closed before a missing trace proves anything."""


@attrs.frozen(eq=False, repr=False)
class DoubtContext:
    """A doubt that is being examined.

    ``competing_entries`` are other entries that may have left the same traces; ``forgotten_until`` is the wall time up
    to which finished entries may have been removed from the journal.
    """

    entry: JournalEntry
    competing_entries: Sequence[JournalEntry]
    now: ClockReading
    window: ReplayWindow
    forgotten_until: float = 0.0

    @property
    def earliest(self) -> dt.datetime:
        """The earliest time of a trace, allowing for the clock difference between two machines."""
        return self.first_sent_at - dt.timedelta(seconds=self.window.margin)

    @property
    def latest(self) -> dt.datetime:
        """The latest time of a trace: no attempt starts after the window."""
        return self.first_sent_at + dt.timedelta(seconds=self.window.length + self.window.margin)

    @property
    def is_conclusive(self) -> bool:
        """Whether the absence of a trace proves anything yet."""
        first_sent = self.entry.first_sent
        return first_sent is not None and proven_age(first_sent, self.now) >= self.window.length + CONCLUSIVE_AFTER

    @property
    def is_complete(self) -> bool:
        """Whether every entry that may claim a trace is still in the journal."""
        return self.forgotten_until < self.earliest.timestamp() - COMPETING_SECONDS

    def could_have_caused(self, timestamp: dt.datetime) -> bool:
        """Return whether something created then can be this doubt's trace."""
        return self.earliest <= timestamp <= self.latest

    def drop_earlier(self, timestamps: Sequence[dt.datetime | None]) -> tuple[dt.datetime | None, ...]:
        """Drop the timestamps that are certainly earlier than this doubt."""
        return tuple(timestamp for timestamp in timestamps if timestamp is None or timestamp >= self.earliest)

    @property
    def first_sent_at(self) -> dt.datetime:
        """When the key was first sent."""
        assert self.entry.first_sent is not None
        return self.entry.first_sent.to_datetime()


@attrs.frozen(eq=False, repr=False)
class Evidence:
    """What the lists show.

    ``timestamps`` are those of all traces of the doubt's kind since it was first sent, however late; ``is_alike``
    returns whether another request to the endpoint leaves the same trace; ``reaches_back``: the list goes back to
    before the first send.
    """

    timestamps: tuple[dt.datetime | None, ...]
    is_alike: Callable[[Mapping[str, Any]], bool]
    reaches_back: bool
    statements: tuple[str, ...]
    inferred: bool


@attrs.frozen(eq=False, repr=False)
class ClaimedEvidence:
    """Traces that belong to other entries.

    ``certain`` of them were left since the doubt was first sent, ``possibly_in_window`` of these perhaps within its
    window; ``has_uncertain``: some entries may or may not have left one.
    """

    certain: int
    possibly_in_window: int
    has_uncertain: bool


async def reconcile(client: Resources, context: DoubtContext) -> DoubtVerdict:
    """Look for traces of a doubt in the server's lists.

    Raises:
        BardgeError: The lists could not be read.
    """
    examine = _EXAMINERS.get(context.entry.endpoint)
    key, first_sent_at = context.entry.identity.key, context.first_sent_at
    if examine is None:
        statement = f"no list of the API shows the effect of {context.entry.endpoint}"
        endpoint = ENDPOINTS.get(context.entry.endpoint)
        if endpoint is not None and endpoint.repeat_is_harmless:
            statement += "; a second execution changes nothing: use the key again"
        return DoubtVerdict(key, first_sent_at, Finding.CANNOT_TELL, (statement,), inferred=False)
    evidence = await examine(client, context, body_of(context.entry) or {})
    finding, why = _weigh_evidence(context, evidence)
    return DoubtVerdict(key, first_sent_at, finding, (*evidence.statements, why), evidence.inferred)


def _weigh_evidence(context: DoubtContext, evidence: Evidence) -> tuple[Finding, str]:
    claims = _count_claims(context, evidence)
    found, unclaimed = len(evidence.timestamps), len(evidence.timestamps) - claims.certain
    ambiguity = _find_ambiguity(context, evidence, claims)
    if ambiguity is not None:
        return Finding.CANNOT_TELL, ambiguity
    if unclaimed:
        in_window = sum(
            timestamp is not None and context.could_have_caused(timestamp) for timestamp in evidence.timestamps
        )
        if in_window > claims.possibly_in_window:
            return Finding.HAPPENED, "exactly one trace that no other entry claims"
        return Finding.CANNOT_TELL, f"{found} traces, and the one that no other entry claims may be too late"
    if not evidence.reaches_back:
        return Finding.CANNOT_TELL, "no trace, but the list does not show that it reaches back before the first send"
    if not context.is_conclusive:
        return Finding.CANNOT_TELL, "no trace yet; its absence proves something 5 minutes after the window has closed"
    return Finding.DID_NOT, "no trace, in a list that reaches back before the first send"


def _find_ambiguity(context: DoubtContext, evidence: Evidence, claims: ClaimedEvidence) -> str | None:
    """Return why traces and entries cannot be matched, or None if they can."""
    unclaimed = len(evidence.timestamps) - claims.certain
    if None in evidence.timestamps:
        return "traces without a time"
    if unclaimed < 0:
        return f"{claims.certain} other entries were done, but there are only {len(evidence.timestamps)} traces"
    if unclaimed and claims.has_uncertain:
        return f"{unclaimed} traces, which other entries may have left"
    if unclaimed and not context.is_complete:
        return f"{unclaimed} traces, and entries that may claim them are no longer in the journal"
    return f"{unclaimed} traces that no other entry claims" if unclaimed > 1 else None


def _count_claims(context: DoubtContext, evidence: Evidence) -> ClaimedEvidence:
    certain = possibly_in_window = 0
    has_uncertain = False
    margin = dt.timedelta(seconds=context.window.margin)
    for entry in context.competing_entries:
        # Another endpoint's entry may leave the same kind of trace, but its body cannot be compared: it is uncertain.
        body = body_of(entry) if entry.endpoint == context.entry.endpoint else None
        if (body is not None and not evidence.is_alike(body)) or entry.first_sent is None or entry.last_sent is None:
            continue
        begin, end = entry.first_sent.to_datetime() - margin, entry.last_sent.to_datetime() + margin
        if end < context.earliest:
            continue
        if entry.state is EntryState.DONE and body is not None and begin >= context.earliest:
            certain += 1
            possibly_in_window += begin <= context.latest
        else:
            has_uncertain = True
    return ClaimedEvidence(certain, possibly_in_window, has_uncertain)


async def _examine_credit_purchase(client: Resources, context: DoubtContext, body: Mapping[str, Any]) -> Evidence:
    amounts = {package.id: package.credits async for package in client.credits.list_packages()}
    amount = amounts.get(str(body.get("package_id")))

    def is_alike(other: Mapping[str, Any]) -> bool:
        theirs = amounts.get(str(other.get("package_id")))
        return other.get("client_id") == body.get("client_id") and theirs in {amount, None}

    if amount is None:
        statement = "the number of credits in the package is not known (inferred field)"
        return Evidence((), is_alike, reaches_back=False, statements=(statement,), inferred=True)
    found = await client.clients.get_credits(str(body.get("client_id")))
    transactions = found.transactions or ()
    timestamps = context.drop_earlier([move.timestamp for move in transactions if _is_purchase(move, amount)])
    statements = (
        f"{len(timestamps)} CREDIT transactions of {amount} since {context.earliest}",
        "the amount comes from CreditPackage.credits (inferred field)",
    )
    # The server may show only the newest transactions: one from before the first send proves that none is missing.
    reaches_back = any(move.timestamp is not None and move.timestamp < context.earliest for move in transactions)
    return Evidence(timestamps, is_alike, reaches_back, statements, inferred=True)


def _is_purchase(transaction: CreditTransaction, amount: Decimal) -> bool:
    return transaction.type == TransactionType.CREDIT and transaction.amount == amount


async def _examine_pass_issue(client: Resources, context: DoubtContext, body: Mapping[str, Any]) -> Evidence:
    def is_alike(other: Mapping[str, Any]) -> bool:
        return all(other.get(name) == body.get(name) for name in ("client_id", "pass_id"))

    try:
        issued = await client.passes.get_issued(str(body.get("client_id")))
    except NotFoundError as error:
        # Any other 404 may mean that the path itself is wrong: it is inferred.
        known = error.code == "pass_not_found"
        statement = f"the client's issued pass: 404 {error.code} (inferred path)"
        return Evidence((), is_alike, reaches_back=known, statements=(statement,), inferred=True)
    timestamps = context.drop_earlier([issued.created]) if issued.pass_id == body.get("pass_id") else ()
    statement = f"the client's pass is {issued.id} of {issued.pass_id}, created {issued.created} (inferred path)"
    # The server shows only one pass: an older one does not prove that no newer one exists.
    return Evidence(timestamps, is_alike, reaches_back=False, statements=(statement,), inferred=True)


def _booking_examiner(kind: BookingType) -> Callable[[Resources, DoubtContext, Mapping[str, Any]], Awaitable[Evidence]]:
    async def examine(client: Resources, context: DoubtContext, body: Mapping[str, Any]) -> Evidence:
        def is_alike(other: Mapping[str, Any]) -> bool:
            return other.get("client_id") == body.get("client_id")

        # Read the whole list: its order is not documented.
        walk = client.bookings.list_for_client(str(body.get("client_id")))
        # A booking without a type may be of this one: counted without a time, it makes the evidence ambiguous.
        made = [b.created if b.type == kind else None async for b in walk if b.type in {kind, None}]
        timestamps = context.drop_earlier(made)
        statement = f"{len(timestamps)} bookings of type {kind.value} made since {context.earliest}"
        return Evidence(timestamps, is_alike, reaches_back=True, statements=(statement,), inferred=False)

    return examine


_EXAMINERS: Final[Mapping[str, Callable[[Resources, DoubtContext, Mapping[str, Any]], Awaitable[Evidence]]]] = {
    "credits.purchase": _examine_credit_purchase,
    "passes.issue": _examine_pass_issue,
    "bookings.initiate_class": _booking_examiner(BookingType.CLASS),
    "bookings.initiate_spa": _booking_examiner(BookingType.SPA),
}
