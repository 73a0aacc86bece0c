"""Evidence counts only if it is the doubt's own: over all pairs of rows, and over the wordings of a transaction."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bardge_async import (
    BardgeClient,
    DoubtVerdict,
    Finding,
    OutcomeUnknownError,
    PurchaseCredits,
    RepeatEffect,
    RetryPolicy,
)
from bardge_async import models as m
from bardge_async.endpoints import ENDPOINTS
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.contract.test_sandbox_rows import CLIENT, SCENES
from tests.support.server import ScriptedServer, cut, reply

ONCE = RetryPolicy(max_attempts=1)
CHARGING = [row.name for row in ENDPOINTS.values() if row.repeat_effect is RepeatEffect.DUPLICATES and row.takes_key]
CHANGING = [row.name for row in ENDPOINTS.values() if row.method == "POST"]
SHOWN = ["passes.issue", "bookings.initiate_class", "credits.purchase"]
"""Rows whose single execution leaves a trace in a list."""


@asynccontextmanager
async def open_stage(sandbox: Sandbox, clock: ManualClock) -> AsyncGenerator[BardgeClient]:
    async with BardgeClient(sandbox.api_key, sandbox.base_url, clock=clock, retry=ONCE) as bardge:
        yield bardge


async def leave_doubt(row: str, bardge: BardgeClient, sandbox: Sandbox, *, happened: bool) -> str:
    """Leave the last call of a row's scene in doubt, and return its key."""
    (sandbox.cut_after if happened else sandbox.cut_before)(row)
    with pytest.raises(OutcomeUnknownError) as caught:
        await SCENES[row](bardge, sandbox)
    assert caught.value.idempotency_key is not None
    return caught.value.idempotency_key


async def examine_pair(row: str, other: str, *, happened: bool) -> DoubtVerdict:
    """Leave one row in doubt, execute another inside its window, and examine the doubt after it."""
    clock = ManualClock(wall=time.time())
    async with Sandbox() as sandbox, open_stage(sandbox, clock) as bardge:
        key = await leave_doubt(row, bardge, sandbox, happened=happened)
        clock.advance(20)
        sandbox.clock.advance(20)
        await SCENES[other](bardge, sandbox)
        clock.advance(400)
        sandbox.clock.advance(400)
        if not any(doubt.idempotency_key == key for doubt in await bardge.in_doubt()):
            pytest.fail("the doubt is gone")
        return await bardge.reconcile(key)


@pytest.mark.parametrize("other", CHANGING)
@pytest.mark.parametrize("row", CHARGING)
async def test_the_trace_of_another_row_is_not_its_own(row: str, other: str) -> None:
    """A call that never arrived did not happen, whatever else was executed for its client in its window."""
    assert (await examine_pair(row, other, happened=False)).finding is not Finding.HAPPENED


@pytest.mark.parametrize("other", CHANGING)
@pytest.mark.parametrize("row", SHOWN)
async def test_another_row_claims_no_trace_of_its_own(row: str, other: str) -> None:
    """A call that was executed is never found not to have happened, whatever else was executed in its window."""
    assert (await examine_pair(row, other, happened=True)).finding is not Finding.DID_NOT


@pytest.mark.parametrize("row", SHOWN)
async def test_a_trace_alone_is_its_own(row: str) -> None:
    """Without another operation, the trace of each row that leaves one is found."""
    clock = ManualClock(wall=time.time())
    async with Sandbox() as sandbox, open_stage(sandbox, clock) as bardge:
        key = await leave_doubt(row, bardge, sandbox, happened=True)
        assert (await bardge.reconcile(key)).finding is Finding.HAPPENED


async def test_an_initiation_that_only_opened_a_session_claims_no_booking() -> None:
    """The booking is the doubt's, although another initiation for the client was executed: that one booked nothing."""
    clock = ManualClock(wall=time.time())
    async with Sandbox() as sandbox, open_stage(sandbox, clock) as bardge:
        key = await leave_doubt("bookings.initiate_class", bardge, sandbox, happened=True)
        session = m.BookClass(class_instance_id="ci_premium", client_id=CLIENT)
        await bardge.send("bookings.initiate_class", request=session, key="another")
        assert (await bardge.reconcile(key)).finding is Finding.HAPPENED


async def test_the_booking_of_a_confirmation_on_record_is_not_the_doubts() -> None:
    """A confirmation's recorded response names its booking, so the list has none for the doubt."""
    clock = ManualClock(wall=time.time())
    async with Sandbox() as sandbox, open_stage(sandbox, clock) as bardge:
        session = m.BookClass(class_instance_id="ci_premium", client_id=CLIENT)
        opened = await bardge.send("bookings.initiate_class", request=session, key="open")
        key = await leave_doubt("bookings.initiate_class", bardge, sandbox, happened=False)
        request = m.ConfirmClassBooking(copay_package_id="copay_abc123")
        await bardge.send("bookings.confirm_class", opened.value.session_id or "", request=request, key="confirm")
        clock.advance(400)
        sandbox.clock.advance(400)
        assert (await bardge.reconcile(key)).finding is Finding.DID_NOT


async def test_a_call_without_a_row_is_a_rival() -> None:
    """A POST to the same path by ``request`` may have left the trace."""
    clock = ManualClock(wall=time.time())
    async with Sandbox() as sandbox, open_stage(sandbox, clock) as bardge:
        key = await leave_doubt("credits.purchase", bardge, sandbox, happened=False)
        body = {"client_id": CLIENT, "package_id": "cpkg_50"}
        await bardge.request("POST", "/credit_purchases", request=body, key="another")
        assert (await bardge.reconcile(key)).finding is Finding.CANNOT_TELL


PACKAGES = [
    {"id": "cpkg_10", "name": "10 Credits Pack", "credits": 10},
    {"id": "cpkg_10_promo", "name": "Welcome Pack", "credits": 10},
    {"id": "cpkg_10_nameless", "credits": 10},
]
TRANSACTIONS: dict[str, tuple[dict[str, Any], Finding]] = {
    "as on the page": ({}, Finding.HAPPENED),
    "in other case and spacing": ({"description": "CREDITS PURCHASE  —  10 credits pack"}, Finding.HAPPENED),
    "of another package": ({"description": "Credits purchase — Welcome Pack"}, Finding.DID_NOT),
    "of an unknown package": ({"description": "Credits purchase — 10 Credits"}, Finding.CANNOT_TELL),
    "without a package": ({"description": "Credits purchase"}, Finding.CANNOT_TELL),
    "the package alone": ({"description": "10 Credits Pack"}, Finding.CANNOT_TELL),
    "undescribed": ({"description": None}, Finding.CANNOT_TELL),
    "top-up": ({"description": "Top-up — 10 Credits Pack"}, Finding.CANNOT_TELL),
    "refund": ({"description": "Refund of booking_1"}, Finding.DID_NOT),
    "refund with a name": ({"description": "Refund — Zen Wellness Spa"}, Finding.DID_NOT),
    "spa booking given back": ({"description": "Spa booking — Zen Wellness Spa"}, Finding.DID_NOT),
    "class booking given back": ({"description": "Class booking — Morning Yoga Flow"}, Finding.DID_NOT),
    "a debit": ({"type": "DEBIT"}, Finding.DID_NOT),
    "of a new type": ({"type": "ADJUSTMENT"}, Finding.CANNOT_TELL),
    "without a type": ({"type": None}, Finding.CANNOT_TELL),
    "of another amount": ({"amount": 11}, Finding.DID_NOT),
    "without an amount": ({"amount": None}, Finding.CANNOT_TELL),
    "without a time": ({"timestamp": None}, Finding.CANNOT_TELL),
    "from before": ({"timestamp": -3600}, Finding.DID_NOT),
    "from after the window": ({"timestamp": 150}, Finding.CANNOT_TELL),
}


@pytest.mark.parametrize("name", TRANSACTIONS)
async def test_what_a_transaction_proves(name: str) -> None:
    """Only a CREDIT that is described as a purchase of this package counts; what is unclear proves nothing."""
    changes, finding = TRANSACTIONS[name]
    clock = ManualClock(wall=1_800_000_000)
    purchase: dict[str, Any] = {
        "type": "CREDIT",
        "amount": 10,
        "description": "Credits purchase — 10 Credits Pack",
        "timestamp": 5,
    }
    old: dict[str, Any] = {
        "type": "DEBIT",
        "amount": 1,
        "description": "Class booking — Morning Yoga Flow",
        "timestamp": -86_400,
    }
    found = [{**purchase, **changes}, old]
    for one in found:
        if one["timestamp"] is not None:
            one["timestamp"] = int(clock.wall() + one["timestamp"]) * 1000

    packages = reply(payload={"object": "list", "data": PACKAGES, "has_more": False})
    script = (cut(), packages, reply(payload={"balance": 1, "transactions": found}))
    async with (
        ScriptedServer(*script) as server,
        BardgeClient("key", server.base_url, clock=clock, retry=ONCE) as bardge,
    ):
        request = PurchaseCredits(client_id="c", package_id="cpkg_10")
        with pytest.raises(OutcomeUnknownError):
            await bardge.send("credits.purchase", request=request, key="order-1")
        clock.advance(400)
        assert (await bardge.reconcile("order-1")).finding is finding


BOOKINGS: dict[str, tuple[dict[str, Any], Finding]] = {
    "the slot": ({}, Finding.HAPPENED),
    "time with seconds": ({"time": "10:00:00"}, Finding.HAPPENED),
    "another day": ({"date": "2031-05-21"}, Finding.DID_NOT),
    "another time": ({"time": "10:30"}, Finding.DID_NOT),
    "a time that cannot be compared": ({"time": "at ten"}, Finding.CANNOT_TELL),
    "no time": ({"time": None}, Finding.CANNOT_TELL),
    "no type": ({"type": None}, Finding.CANNOT_TELL),
    "a class": ({"type": "class"}, Finding.DID_NOT),
    "no time of creation": ({"created": None}, Finding.CANNOT_TELL),
}


@pytest.mark.parametrize("name", BOOKINGS)
async def test_what_a_booking_proves(name: str) -> None:
    """Only a booking of the requested type and slot counts; what is unclear proves nothing."""
    changes, finding = BOOKINGS[name]
    clock = ManualClock(wall=1_800_000_000)
    booking = {"id": "b1", "type": "spa", "date": "2031-05-20", "time": "10:00", "created": 1_800_000_005, **changes}
    script = (cut(), reply(payload={"object": "list", "data": [booking], "has_more": False}))
    async with (
        ScriptedServer(*script) as server,
        BardgeClient("key", server.base_url, clock=clock, retry=ONCE) as bardge,
    ):
        request = m.BookSpa(client_id="c", date=dt.date(2031, 5, 20), time="10:00")
        with pytest.raises(OutcomeUnknownError):
            await bardge.send("bookings.initiate_spa", request=request, key="order-1")
        clock.advance(400)
        verdict = await bardge.reconcile("order-1")
    assert (verdict.finding, verdict.inferred) == (finding, True)


@pytest.mark.parametrize(
    ("reference", "finding"),
    [("FLW-1", Finding.HAPPENED), (None, Finding.HAPPENED), ("FLW-2", Finding.CANNOT_TELL)],
)
async def test_a_pass_with_another_reference_proves_nothing(reference: str | None, finding: Finding) -> None:
    """A pass that bears another payment's reference than the one sent may be another operation's."""
    clock = ManualClock(wall=1_800_000_000)
    issued = {"id": "p1", "pass_id": "pass_1", "tx_ref": reference, "created": 1_800_000_005_000}
    async with (
        ScriptedServer(cut(), reply(payload=issued)) as server,
        BardgeClient("key", server.base_url, clock=clock, retry=ONCE) as bardge,
    ):
        with pytest.raises(OutcomeUnknownError):
            await bardge.send(
                "passes.issue", request=m.IssuePass(client_id="c", pass_id="pass_1", tx_ref="FLW-1"), key="k"
            )
        assert (await bardge.reconcile("k")).finding is finding
