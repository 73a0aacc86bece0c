"""Evidence for a doubt: what the server's lists show since the key was first sent. Never a guess."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

import attrs

from bardge_async._core.destination import describe_foreign_url
from bardge_async._core.entry import COMPETING_SECONDS, EntryState, JournalEntry
from bardge_async._core.settings import ReplayWindow
from bardge_async._core.window import ClockReading, proven_age
from bardge_async._doubts.recovery import DoubtVerdict, Finding, body_of
from bardge_async._resources import Resources
from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import NotFoundError
from bardge_async.models import Booking, BookingType, CreditPackage, CreditTransaction, TransactionType

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

    ``timestamps`` are those of all traces of the doubt's kind since it was first sent, however late; ``unclear`` counts
    what may be one, or may be another operation's; ``has_left_one`` returns whether another entry, if it was executed,
    left one of them, or None if that cannot be told; ``reaches_back``: the list goes back to before the first send.
    """

    timestamps: tuple[dt.datetime | None, ...]
    has_left_one: Callable[[JournalEntry], bool | None]
    reaches_back: bool
    statements: tuple[str, ...]
    inferred: bool
    unclear: int = 0


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
    foreign = describe_foreign_url(context.entry, context.entry.identity.base_url)
    if foreign is not None:
        return DoubtVerdict(key, first_sent_at, Finding.CANNOT_TELL, (foreign,), inferred=False)
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
    if evidence.unclear:
        return f"{evidence.unclear} items of the list may be its trace or another operation's"
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
        has_left_one = evidence.has_left_one(entry)
        if has_left_one is False or entry.first_sent is None or entry.last_sent is None:
            continue
        begin, end = entry.first_sent.to_datetime() - margin, entry.last_sent.to_datetime() + margin
        if end < context.earliest:
            continue
        if entry.state is EntryState.DONE and has_left_one and begin >= context.earliest:
            certain += 1
            possibly_in_window += begin <= context.latest
        else:
            has_uncertain = True
    return ClaimedEvidence(certain, possibly_in_window, has_uncertain)


def _compare_bodies(
    context: DoubtContext, is_alike: Callable[[Mapping[str, Any]], bool]
) -> Callable[[JournalEntry], bool | None]:
    """Return ``has_left_one`` for an endpoint whose every execution leaves a trace, given by the request."""

    def has_left_one(entry: JournalEntry) -> bool | None:
        # The body of another endpoint's entry cannot be compared.
        body = body_of(entry) if entry.endpoint == context.entry.endpoint else None
        return None if body is None else is_alike(body)

    return has_left_one


async def _examine_credit_purchase(client: Resources, context: DoubtContext, body: Mapping[str, Any]) -> Evidence:
    packages = {package.id: package async for package in client.credits.list_packages()}
    package = packages.get(str(body.get("package_id")))
    amount = None if package is None else package.credits

    def is_alike(other: Mapping[str, Any]) -> bool:
        theirs = packages.get(str(other.get("package_id")))
        return other.get("client_id") == body.get("client_id") and (
            theirs is None or (theirs.credits in {amount, None} and _may_have_same_name(theirs.name, package))
        )

    has_left_one = _compare_bodies(context, is_alike)
    if package is None or amount is None:
        statement = "the number of credits in the package is not known (inferred field)"
        return Evidence((), has_left_one, reaches_back=False, statements=(statement,), inferred=True)
    found = await client.clients.get_credits(str(body.get("client_id")))
    transactions = found.transactions or ()
    others = {_fold(other.name) for other in packages.values() if not _may_have_same_name(other.name, package)}
    judged = [(move.timestamp, _is_trace_of_purchase(move, amount, package.name, others)) for move in transactions]
    timestamps = context.drop_earlier([timestamp for timestamp, is_trace in judged if is_trace])
    unclear = context.drop_earlier([timestamp for timestamp, is_trace in judged if is_trace is None])
    statements = (
        f"{len(timestamps)} transactions of a purchase of {amount} credits since {context.earliest}",
        "amount and name come from CreditPackage (inferred fields)",
    )
    # The server may show only the newest transactions: one from before the first send proves that none is missing.
    reaches_back = any(move.timestamp is not None and move.timestamp < context.earliest for move in transactions)
    return Evidence(timestamps, has_left_one, reaches_back, statements, inferred=True, unclear=len(unclear))


_PURCHASE: Final = "credits purchase"
_NOT_PURCHASES: Final = ("spa booking", "class booking", "refund")


def _is_trace_of_purchase(
    transaction: CreditTransaction, amount: Decimal, name: str | None, others: Collection[str]
) -> bool | None:
    """Return whether a transaction is that of a purchase of this package; None if it cannot be told.

    What was done stands before an em dash, as in "Credits purchase — 50 Credits Pack" (page: Get client credits).
    """
    if transaction.type == TransactionType.DEBIT or transaction.amount not in {amount, None}:
        return False
    done, dash, what = (_fold(text) for text in (transaction.description or "").partition("—"))
    if done.startswith(_NOT_PURCHASES) or (done == _PURCHASE and what in others):
        return False
    is_credit = transaction.type == TransactionType.CREDIT and transaction.amount == amount
    named = is_credit and done == _PURCHASE and bool(dash) and (name is None or what == _fold(name))
    return True if named else None


def _may_have_same_name(name: str | None, package: CreditPackage | None) -> bool:
    return name is None or package is None or package.name is None or _fold(name) == _fold(package.name)


def _fold(text: str | None) -> str:
    return " ".join((text or "").split()).casefold()


async def _examine_pass_issue(client: Resources, context: DoubtContext, body: Mapping[str, Any]) -> Evidence:
    def is_alike(other: Mapping[str, Any]) -> bool:
        return all(other.get(name) == body.get(name) for name in ("client_id", "pass_id"))

    has_left_one = _compare_bodies(context, is_alike)
    try:
        issued = await client.passes.get_issued(str(body.get("client_id")))
    except NotFoundError as error:
        # Any other 404 may mean that the path itself is wrong: it is inferred.
        known = error.code == "pass_not_found"
        statement = f"the client's issued pass: 404 {error.code} (inferred path)"
        return Evidence((), has_left_one, reaches_back=known, statements=(statement,), inferred=True)
    timestamps = context.drop_earlier([issued.created]) if issued.pass_id == body.get("pass_id") else ()
    statement = f"the client's pass is {issued.id} of {issued.pass_id}, created {issued.created} (inferred path)"
    unclear = 0
    if timestamps and issued.tx_ref and body.get("tx_ref") not in {issued.tx_ref, None}:
        # With another payment's reference it may be another operation's.
        timestamps, unclear = (), 1
    # The server shows only one pass: an older one does not prove that no newer one exists.
    return Evidence(timestamps, has_left_one, False, (statement,), True, unclear)


def _booking_examiner(kind: BookingType) -> Callable[[Resources, DoubtContext, Mapping[str, Any]], Awaitable[Evidence]]:
    async def examine(client: Resources, context: DoubtContext, body: Mapping[str, Any]) -> Evidence:
        slot = _read_slot(body.get("date"), body.get("time"))

        known = {entry.identity: _read_booking_ids(entry) for entry in context.competing_entries}
        claimed = frozenset[str]().union(*(ids for ids in known.values() if ids is not None))

        def has_left_one(entry: JournalEntry) -> bool | None:
            """Return False for what left another booking, or only opened a session; an initiation may do either."""
            other = body_of(entry) if entry.endpoint == context.entry.endpoint else None
            if known[entry.identity] is not None or (
                other is not None and other.get("client_id") != body.get("client_id")
            ):
                return False
            is_other_slot = other and _is_same_slot(slot, _read_slot(other.get("date"), other.get("time"))) is False
            return False if is_other_slot else None

        # Read the whole list: its order is not documented.
        walk = client.bookings.list_for_client(str(body.get("client_id")))
        others = [booking async for booking in walk if booking.id not in claimed]
        judged = [(booking.created, _is_trace_of_booking(booking, kind, slot)) for booking in others]
        timestamps = context.drop_earlier([created for created, is_trace in judged if is_trace])
        unclear = context.drop_earlier([created for created, is_trace in judged if is_trace is None])
        statements = (
            f"{len(timestamps)} bookings of type {kind.value} made since {context.earliest}",
            "an initiation that only opened a session leaves no booking and charges nothing",
        )
        # The fields of a request that name the slot are inferred.
        inferred = slot != (None, None)
        return Evidence(timestamps, has_left_one, True, statements, inferred, len(unclear))

    return examine


def _read_booking_ids(entry: JournalEntry) -> frozenset[str] | None:
    """Return the ids of the bookings in an entry's recorded response, none if it only opened a session; else None."""
    if entry.answer is None or entry.state is not EntryState.DONE:
        return None
    try:
        response = json.loads(entry.answer.body or b"")
    except (ValueError, RecursionError):
        return None
    found = cast("dict[str, object]", response) if isinstance(response, dict) else {}
    ids = frozenset(id for id in (found.get("booking_id"), found.get("id")) if isinstance(id, str))
    return ids if ids or found.get("session_id") else None


_Slot: TypeAlias = tuple[dt.date | None, dt.time | None]


def _is_trace_of_booking(booking: Booking, kind: BookingType, slot: _Slot) -> bool | None:
    """Return whether a booking is of this type and slot; None if it cannot be told."""
    same_slot = _is_same_slot(slot, _read_slot(booking.date, booking.time))
    if booking.type not in {kind, None} or same_slot is False:
        return False
    return True if booking.type == kind and same_slot else None


def _is_same_slot(wanted: _Slot, found: _Slot) -> bool | None:
    """Return whether a slot is the wanted one, as far as that is known; None if it lacks what to compare."""
    parts = [(one, other) for one, other in zip(wanted, found, strict=True) if one is not None]
    if any(other is not None and other != one for one, other in parts):
        return False
    return None if any(other is None for _, other in parts) else True


def _read_slot(date: object, time: object) -> _Slot:
    """Parse date and time, both local to the venue; None for what is missing or written otherwise."""
    day = moment = None
    with contextlib.suppress(ValueError):
        day = dt.date.fromisoformat(str(date))
    with contextlib.suppress(ValueError):
        moment = dt.time.fromisoformat(str(time))
    return day, moment


_EXAMINERS: Final[Mapping[str, Callable[[Resources, DoubtContext, Mapping[str, Any]], Awaitable[Evidence]]]] = {
    "credits.purchase": _examine_credit_purchase,
    "passes.issue": _examine_pass_issue,
    "bookings.initiate_class": _booking_examiner(BookingType.CLASS),
    "bookings.initiate_spa": _booking_examiner(BookingType.SPA),
}
