"""Issued passes: states, visits, expiry."""

from __future__ import annotations

from typing import Any

import pytest

DAY = 86_400


async def read_state(raw: Any, client: str) -> str:
    """Read the state of a client's pass."""
    return str((await raw.get(f"/issued_passes/{client}")).json["status"])


@pytest.mark.parametrize(
    ("client", "expected"),
    [("client_abc123", "ACTIVE"), ("client_expired", "EXPIRED"), ("client_cancelled", "CANCELLED")],
)
async def test_pass_tells_its_state(raw: Any, client: str, expected: str) -> None:
    """The three states of the notes are there from the start."""
    assert await read_state(raw, client) == expected


async def test_pass_expires_by_date(raw: Any) -> None:
    """When its date has passed a pass is expired."""
    raw.sandbox.clock.advance(400 * DAY)
    assert await read_state(raw, "client_abc123") == "EXPIRED"


async def test_pass_expires_by_visits(raw: Any) -> None:
    """When all visits are used a pass is expired."""
    await raw.post("/issued_passes", {"client_id": "client_new", "pass_id": "pass_oasis_4_monthly"})
    for _ in range(4):
        await raw.post("/access-codes", {"client_id": "client_new"})
    assert await read_state(raw, "client_new") == "EXPIRED"


async def test_unlimited_pass_never_runs_out(raw: Any) -> None:
    """A pass without a cap shows no number and admits any number of visits."""
    await raw.post("/issued_passes", {"client_id": "client_new", "pass_id": "pass_oasis_unlimited_monthly"})
    codes = [await raw.post("/access-codes", {"client_id": "client_new"}) for _ in range(20)]
    shown = (await raw.get("/issued_passes/client_new")).json
    assert ({c.status for c in codes}, "visits_allowed" in shown["categories"][0]) == ({201}, False)


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "3000-01-01", "9999-12-31"])
async def test_day_off_the_calendar_is_refused(raw: Any, day: str) -> None:
    """A start at either end of the calendar is a 400, not a failure."""
    body = {"client_id": "client_new", "pass_id": "pass_abc123", "start_date": day}
    assert (await raw.post("/issued_passes", body)).status == 400


async def test_expiry_is_set_to_the_end_of_the_day(raw: Any) -> None:
    """A new expiry date is the last second of that day in Lagos, in milliseconds."""
    reply = await raw.post("/issued_passes/client_abc123/expiry", {"expiry_date": "2026-12-31"})
    shown = (await raw.get("/issued_passes/client_abc123")).json["expires_at"]
    assert (reply.json, shown) == (
        {"object": "issued_pass", "message": "Pass expiry updated successfully"},
        1798757999000,
    )


async def test_expired_pass_can_be_extended(raw: Any) -> None:
    """A later date reactivates an expired pass."""
    await raw.post("/issued_passes/client_expired/expiry", {"expiry_date": "2099-12-31"})
    assert await read_state(raw, "client_expired") == "ACTIVE"


@pytest.mark.parametrize("client", ["client_cancelled", "client_no_pass"])
async def test_nothing_to_extend_is_404(raw: Any, client: str) -> None:
    """A cancelled pass, or none, is ``pass_not_found``."""
    reply = await raw.post(f"/issued_passes/{client}/expiry", {"expiry_date": "2099-12-31"})
    assert (reply.status, reply.error["code"]) == (404, "pass_not_found")


@pytest.mark.parametrize("day", ["2026-02-30", "31.12.2026", "2026-W01-1", "20261231", 5, None])
async def test_bad_expiry_date_is_named(raw: Any, day: object) -> None:
    """What is not a calendar day is a validation error of that field."""
    reply = await raw.post("/issued_passes/client_abc123/expiry", {"expiry_date": day})
    assert (reply.error["code"], reply.error["message"].partition(":")[0]) == ("validation_error", "expiry_date")


async def test_issuing_makes_the_client_and_debits_the_reseller(raw: Any) -> None:
    """A new client id becomes a client, and the reseller pays the pass."""
    body = {"client_id": "client_new", "pass_id": "pass_abc123", "first_name": "Ngozi", "tx_ref": "FLW-TXN-1"}
    issued = (await raw.post("/issued_passes", body)).json
    client = (await raw.get("/clients/client_new")).json
    (paid,) = raw.sandbox.account()
    assert (issued["tx_ref"], client["first_name"], client["passes"][0]["pass_id"], paid.type, paid.amount) == (
        "FLW-TXN-1",
        "Ngozi",
        "pass_abc123",
        "DEBIT",
        1_200_000,
    )


async def test_issuing_twice_makes_two(raw: Any) -> None:
    """Without a key a second execution issues another pass."""
    ids = {
        (await raw.post("/issued_passes", {"client_id": "client_new", "pass_id": "pass_abc123"})).json["id"]
        for _ in range(2)
    }
    assert len(ids) == 2


async def test_pass_starts_on_the_day_asked_for(raw: Any) -> None:
    """``start_date`` is a day in Lagos, and a monthly pass lasts thirty days more."""
    body = {"client_id": "client_new", "pass_id": "pass_oasis_4_monthly", "start_date": "2027-01-01"}
    issued = (await raw.post("/issued_passes", body)).json
    assert (issued["start_date"], issued["expires_at"]) == (1798758000000, 1801436399000)


async def test_unknown_pass_is_404(raw: Any) -> None:
    """The error is the documented example."""
    reply = await raw.post("/issued_passes", {"client_id": "client_abc123", "pass_id": "pass_01H8XYZ"})
    assert (reply.status, reply.error["code"], reply.error["message"]) == (
        404,
        "pass_not_found",
        "No pass exists with id pass_01H8XYZ.",
    )


async def test_update_changes_the_holder(raw: Any) -> None:
    """Given fields are changed, the others stay."""
    before = (await raw.get("/clients/client_abc123")).json
    await raw.post("/issued_passes/update", {"client_id": "client_abc123", "email": "a@example.com"})
    assert (await raw.get("/clients/client_abc123")).json == before | {"email": "a@example.com"}


async def test_cases_and_units_are_the_vendors(raw: Any) -> None:
    """Durations are lower case on packages and upper case on issued passes, instants in milliseconds."""
    package = (await raw.get("/passes", limit=1)).json["data"][0]
    issued = (await raw.get("/issued_passes/client_abc123")).json
    found = (package["duration"], package["categories"][0]["duration"], issued["categories"][0]["duration"])
    assert (*found, issued["created"] > 10**11) == ("annually", "annually", "ANNUALLY", True)
