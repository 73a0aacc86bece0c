"""The operations of the campaign: each has a business id and is delivered once or several times."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs

from bardge_async import (
    BardgeClient,
    InitiateLookup,
    IssuePass,
    PurchaseCredits,
    RescheduleBooking,
    UpdateIssuedPassExpiry,
)
from bardge_async import endpoints as e
from bardge_async._resources import Resources
from bardge_async.endpoints import Endpoint

DAYS: Final = {"good": dt.date(2026, 12, 31), "other": dt.date(2027, 1, 31)}


@attrs.frozen
class Kind:
    """An endpoint, and how to call it by its method and by ``send``."""

    row: Endpoint[Any, Any]
    call: Callable[[Resources, str, str], Awaitable[object]]
    again: str
    request: Callable[[str, str], object]
    in_path: bool = False
    variants: tuple[str, ...] = ("good", "wrong", "other")


def _no_body(op: str, variant: str) -> None:
    """Return no body."""


KINDS: Final = {
    "purchase": Kind(
        e.PURCHASE_CREDITS,
        lambda api, op, v: api.credits.purchase(PurchaseCredits(client_id=op, package_id=v)),
        "twice",
        lambda op, v: PurchaseCredits(client_id=op, package_id=v),
    ),
    "issue": Kind(
        e.ISSUE_PASS,
        lambda api, op, v: api.passes.issue(IssuePass(client_id=op, pass_id=v)),
        "twice",
        lambda op, v: IssuePass(client_id=op, pass_id=v),
    ),
    "reschedule": Kind(
        e.RESCHEDULE_BOOKING,
        lambda api, op, v: api.bookings.reschedule(op, RescheduleBooking(class_instance_id=v)),
        "twice",
        lambda _, v: RescheduleBooking(class_instance_id=v),
        in_path=True,
    ),
    "cancel": Kind(
        e.CANCEL_BOOKING,
        lambda api, op, _: api.bookings.cancel(op),
        "conflict?",
        _no_body,
        in_path=True,
        variants=("good",),
    ),
    "lookup": Kind(
        e.INITIATE_LOOKUP,
        lambda api, op, v: api.lookups.initiate(InitiateLookup(client_id=op, issuer_id=v)),
        "twice-",
        lambda op, v: InitiateLookup(client_id=op, issuer_id=v),
    ),
    "expiry": Kind(
        e.UPDATE_EXPIRY,
        lambda api, op, v: api.passes.update_expiry(op, UpdateIssuedPassExpiry(expiry_date=DAYS[v])),
        "same",
        lambda _, v: UpdateIssuedPassExpiry(expiry_date=DAYS[v]),
        in_path=True,
        variants=("good", "other"),
    ),
    "credits": Kind(
        e.GET_CLIENT_CREDITS,
        lambda api, op, _: api.clients.get_credits(op),
        "get",
        _no_body,
        in_path=True,
        variants=("good",),
    ),
}
_WEIGHTS: Final = {"purchase": 6, "issue": 4, "reschedule": 2, "cancel": 2, "lookup": 1, "expiry": 3, "credits": 2}


@attrs.frozen
class Delivery:
    """One call of an operation, ``wait`` seconds after the previous delivery started or ended."""

    number: int
    op: str
    kind: Kind
    variant: str
    key: str | None = None
    by: str = "bare"
    """``bare``, ``block``, ``twice in a block`` or ``send``."""
    wait: float = 0.0
    beside: bool = False
    """Whether it runs concurrently with the previous one instead of after it."""
    cancel_after: float | None = None
    cancel_ticks: int | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether the call is cancelled before it ends, unless it ends first."""
        return self.cancel_after is not None or self.cancel_ticks is not None

    async def make(self, client: BardgeClient) -> object:
        """Make the call."""
        if self.by == "send" or (self.key is not None and self.by == "bare"):
            path = (self.op,) if self.kind.in_path else ()
            request = self.kind.request(self.op, self.variant)
            return (await client.send(self.kind.row, *path, request=request, key=self.key)).value
        if self.by == "bare":
            return await self.kind.call(client, self.op, self.variant)
        async with client.idempotent(self.key) as once:
            value = await self.kind.call(once, self.op, self.variant)
            return await self.kind.call(once, self.op, self.variant) if self.by == "twice in a block" else value


class Author:
    """Generate operations from a seed."""

    def __init__(self, seed: str, only: str | None = None) -> None:
        self._rng = random.Random(f"{seed}/operations")
        self._only = only
        self._seed = seed
        self._numbers = 0
        self._ops = 0

    def write(self) -> list[Delivery]:
        """Generate one operation's deliveries, in order."""
        rng = self._rng
        self._ops += 1
        name = self._only or rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        kind, op = KINDS[name], f"{name}-{self._ops}"
        keyed = bool(kind.row.key) and rng.random() < 0.65
        first = self._make_delivery(op, kind, f"{self._seed}:{op}" if keyed else None, self._choose_variant(kind))
        if not keyed:
            return [first]
        return [first, *(self._repeat(first) for _ in range(rng.choice([0, 0, 1, 1, 2, 3])))]

    def _choose_variant(self, kind: Kind) -> str:
        return "wrong" if "wrong" in kind.variants and self._rng.random() < 0.12 else "good"

    def _repeat(self, first: Delivery) -> Delivery:
        rng = self._rng
        beside = rng.random() < 0.25
        wait = rng.choice([0.0, rng.random() * 3, rng.uniform(3, 60), rng.uniform(60, 95), rng.uniform(95, 400)])
        variant = "good" if first.variant == "wrong" or rng.random() < 0.85 else "other"
        variant = variant if variant in first.kind.variants and rng.random() < 0.95 else first.variant
        return self._make_delivery(first.op, first.kind, first.key, variant, 0.0 if beside else wait, beside=beside)

    def _make_delivery(
        self, op: str, kind: Kind, key: str | None, variant: str, wait: float = 0.0, *, beside: bool = False
    ) -> Delivery:
        rng = self._rng
        self._numbers += 1
        cancelled = rng.random()
        ways = ["block", "send"] if cancelled < 0.12 else ["block", "block", "twice in a block", "send"]
        return Delivery(
            number=self._numbers,
            op=op,
            kind=kind,
            variant=variant,
            key=key,
            by=rng.choice(ways) if key is not None else "bare",
            wait=wait,
            beside=beside,
            cancel_after=rng.choice([rng.random(), rng.random() * 25]) if cancelled < 0.06 else None,
            cancel_ticks=rng.randrange(60) if 0.06 <= cancelled < 0.12 else None,
        )
