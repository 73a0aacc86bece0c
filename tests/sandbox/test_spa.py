"""Spas: sessions, slots, quotes and payment."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

DAY = {"date": "2099-01-05", "time": "14:30"}


def make_booking_request(kind: str = "standard", client: str = "client_abc123", **changes: object) -> dict[str, Any]:
    """Make the body of a request for two services at a spa."""
    services = [f"svc_spa_{kind}_{n}" for n in (1, 2)]
    return {"provider_id": f"prov_spa_{kind}", "service_ids": services, "client_id": client, **DAY, **changes}


async def open_session(raw: Any, body: dict[str, Any]) -> str:
    """Open a session."""
    return str((await raw.post("/bookings/spa", body)).json["session_id"])


async def confirm_booking(raw: Any, id: str) -> Any:
    """Confirm without a body."""
    return await raw.send("POST", f"/bookings/spa/{id}/confirm")


async def test_covered_services_cost_nothing(raw: Any) -> None:
    """The pass pays, and every service says so."""
    reply = (await raw.post("/bookings/spa", make_booking_request())).json
    assert (reply["amount"], reply["copay_required"], {s["covered"] for s in reply["services"]}) == (0, False, {True})


async def test_confirmation_books_several_services(raw: Any) -> None:
    """A confirmation without a body makes a booking that names all services."""
    booking = (await confirm_booking(raw, await open_session(raw, make_booking_request()))).json
    assert (booking["type"], booking["service_name"], booking["time"], "visits_deducted" in booking) == (
        "spa",
        "Deep Tissue Massage, Aromatherapy",
        "14:30",
        False,
    )


async def test_copay_spa_wants_a_purchase_first(raw: Any) -> None:
    """Without a bought quote the confirmation is refused."""
    reply = await confirm_booking(raw, await open_session(raw, make_booking_request("premium")))
    assert (reply.status, reply.error["code"]) == (400, "validation_error")


async def request_quote(raw: Any) -> dict[str, Any]:
    """Request a quote for the two services."""
    body = {key: make_booking_request("premium")[key] for key in ("client_id", "service_ids")}
    return dict((await raw.post("/providers/prov_spa_premium/spa-copay-quote", body)).json)


async def buy_quote(raw: Any, quote_id: str, path: str = "/spa_copay_purchases") -> Any:
    """Buy a quote."""
    body = {"client_id": "client_abc123", "provider_id": "prov_spa_premium", "quote_id": quote_id}
    return await raw.post(path, body)


@pytest.mark.parametrize("path", ["/spa_copay_purchases", "/copay_purchases"])
async def test_bought_quote_pays_the_booking(raw: Any, path: str) -> None:
    """After the purchase the confirmation succeeds, and the reseller paid the quoted amount."""
    id, quoted = await open_session(raw, make_booking_request("premium")), await request_quote(raw)
    await buy_quote(raw, quoted["quote_id"], path)
    booked = await confirm_booking(raw, id)
    assert (booked.status, raw.sandbox.account()[-1].amount) == (201, Decimal(str(quoted["amount"])))


async def test_quote_serves_one_booking(raw: Any) -> None:
    """A bought quote is used up by its visit."""
    await buy_quote(raw, (await request_quote(raw))["quote_id"])
    slots = [await open_session(raw, make_booking_request("premium", time=time)) for time in ("10:00", "11:00")]
    assert [(await confirm_booking(raw, id)).status for id in slots] == [201, 400]


async def test_quote_is_for_its_services(raw: Any) -> None:
    """A quote for two services does not pay another one."""
    await buy_quote(raw, (await request_quote(raw))["quote_id"])
    id = await open_session(raw, make_booking_request("premium", service_ids=["svc_spa_premium_3"]))
    assert (await confirm_booking(raw, id)).status == 400


async def test_covered_quote_is_free(raw: Any) -> None:
    """What the pass covers is quoted at zero."""
    body = {"client_id": "client_abc123", "service_ids": ["svc_spa_standard_1"]}
    assert (await raw.post("/providers/prov_spa_standard/spa-copay-quote", body)).json["amount"] == 0


async def test_quote_expires(raw: Any) -> None:
    """An expired quote is not found."""
    quoted = await request_quote(raw)
    raw.sandbox.clock.advance(30 * 60)
    assert (await buy_quote(raw, quoted["quote_id"])).status == 404


async def test_copay_package_wants_one_of_two(raw: Any) -> None:
    """Neither option nor quote is a validation error."""
    body = {"client_id": "client_abc123", "provider_id": "prov_gym_premium"}
    assert (await raw.post("/copay_purchases", body)).error["message"].startswith("copay_package_id:")


async def test_credits_pay_where_neither_pass_nor_copay_does(raw: Any) -> None:
    """Fourteen credits are spent at the confirmation."""
    booked = await confirm_booking(raw, await open_session(raw, make_booking_request("credits")))
    assert (booked.status, raw.sandbox.ledger("client_abc123")[-1].amount) == (201, Decimal(14))


async def test_too_few_credits_are_400(raw: Any) -> None:
    """The booking request itself is rejected: 25 credits pay one booking of 14."""
    await confirm_booking(raw, await open_session(raw, make_booking_request("credits")))
    reply = await raw.post("/bookings/spa", make_booking_request("credits", time="10:00"))
    assert (reply.status, reply.error["code"]) == (400, "validation_error")


async def test_slot_goes_to_one(raw: Any) -> None:
    """Two sessions for one slot: one booking, one ``slot_unavailable``, nothing spent for it."""
    ids = [
        await open_session(raw, make_booking_request("credits", client))
        for client in ("client_abc123", "client_lookup")
    ]
    replies = await asyncio.gather(*(confirm_booking(raw, id) for id in ids))
    codes = sorted(r.json.get("error", {}).get("code", r.json.get("status")) for r in replies)
    spent = sum(len(raw.sandbox.ledger(client)) for client in ("client_abc123", "client_lookup"))
    assert (codes, spent) == (["PENDING", "slot_unavailable"], 5)


async def test_taken_slot_is_409_at_once(raw: Any) -> None:
    """A booked slot cannot be requested."""
    await confirm_booking(raw, await open_session(raw, make_booking_request()))
    assert (await raw.post("/bookings/spa", make_booking_request())).error["code"] == "slot_unavailable"


async def test_cancelled_slot_is_free_again(raw: Any) -> None:
    """Cancelling releases slot and visit."""
    booking = (await confirm_booking(raw, await open_session(raw, make_booking_request()))).json
    await raw.post(f"/bookings/{booking['id']}/cancel")
    assert (await raw.post("/bookings/spa", make_booking_request())).status == 201


async def test_moving_takes_another_slot(raw: Any) -> None:
    """The new booking has the new time, and the old slot is free."""
    booking = (await confirm_booking(raw, await open_session(raw, make_booking_request()))).json
    new = (await raw.post(f"/bookings/{booking['id']}/reschedule", {"date": "2099-01-06", "time": "09:00"})).json
    again = await raw.post("/bookings/spa", make_booking_request())
    assert (new["date"], new["time"], again.status) == ("2099-01-06", "09:00", 201)


async def test_moving_to_a_taken_slot_conflicts(raw: Any) -> None:
    """A slot that another client booked is not available."""
    await confirm_booking(raw, await open_session(raw, make_booking_request(time="10:00")))
    booking = (await confirm_booking(raw, await open_session(raw, make_booking_request()))).json
    reply = await raw.post(f"/bookings/{booking['id']}/reschedule", DAY | {"time": "10:00"})
    assert reply.error["code"] == "slot_unavailable"


async def test_moving_to_the_same_slot_is_refused(raw: Any) -> None:
    """A booking cannot be rescheduled to its own time."""
    booking = (await confirm_booking(raw, await open_session(raw, make_booking_request()))).json
    assert (await raw.post(f"/bookings/{booking['id']}/reschedule", DAY)).error["message"].startswith("date:")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"service_ids": []}, "service_ids"),
        ({"service_ids": "svc"}, "service_ids"),
        ({"service_ids": ["svc_spa_standard_1", 5]}, "service_ids"),
        ({"service_ids": ["svc_spa_standard_1"] * 2}, "service_ids"),
        ({"service_ids": ["svc_spa_premium_1"]}, "service_ids"),
        ({"date": "2020-01-01"}, "date"),
        ({"date": "tomorrow"}, "date"),
        ({"time": "25:00"}, "time"),
        ({"time": None}, "time"),
        ({"provider_id": None}, "provider_id"),
        ({"first_name": 5}, "first_name"),
    ],
)
async def test_wrong_field_is_named(raw: Any, changes: dict[str, Any], named: str) -> None:
    """Each fault of the body is a validation error of its field."""
    reply = await raw.post("/bookings/spa", make_booking_request(**changes))
    assert (reply.status, reply.error["message"].partition(":")[0]) == (400, named)


@pytest.mark.parametrize("time", ["07:30", "20:00", "14:10"])
async def test_closed_spa_has_no_slot(raw: Any, time: str) -> None:
    """Outside the opening hours there is no slot."""
    assert (await raw.post("/bookings/spa", make_booking_request(time=time))).error["code"] == "slot_unavailable"


async def test_gym_is_no_spa(raw: Any) -> None:
    """A provider of the other category is not found."""
    assert (await raw.post("/bookings/spa", make_booking_request(provider_id="prov_gym_standard"))).status == 404


async def test_class_session_is_no_spa_session(raw: Any) -> None:
    """A class session cannot be confirmed as a spa session."""
    body = {"class_instance_id": "ci_premium", "client_id": "client_abc123"}
    id = (await raw.post("/bookings/class", body)).json["session_id"]
    assert (await confirm_booking(raw, id)).status == 404


@pytest.mark.parametrize("kind", ["standard", "premium", "credits"])
async def test_spa_needs_a_valid_pass(raw: Any, kind: str) -> None:
    """Without a valid issued pass no spa is booked, with whatever credits."""
    for _ in range(4):
        await raw.post("/credit_purchases", {"client_id": "client_no_pass", "package_id": "cpkg_500"})
    reply = await raw.post("/bookings/spa", make_booking_request(kind, "client_no_pass"))
    assert (reply.status, reply.error["code"]) == (404, "pass_not_found")


async def issue_gym_pass(raw: Any) -> None:
    """Issue a pass that covers gyms only."""
    await raw.post("/issued_passes", {"client_id": "client_new", "pass_id": "pass_eko_active_4_monthly"})


async def test_naira_price_is_no_credit_price(raw: Any) -> None:
    """A spa without co-pay serves only clients whose pass covers it: no balance of credits pays its naira price."""
    await issue_gym_pass(raw)
    for _ in range(40):
        await raw.post("/credit_purchases", {"client_id": "client_new", "package_id": "cpkg_500"})
    reply = await raw.post("/bookings/spa", make_booking_request("standard", "client_new"))
    assert (reply.status, reply.error["message"].partition(":")[0]) == (400, "user_pass_id")


@pytest.mark.parametrize("kind", ["standard", "credits"])
async def test_nothing_to_quote(raw: Any, kind: str) -> None:
    """A co-pay is quoted neither at a spa that offers none nor for a price in credits."""
    await issue_gym_pass(raw)
    body = {"client_id": "client_new", "service_ids": [f"svc_spa_{kind}_1"]}
    reply = await raw.post(f"/providers/prov_spa_{kind}/spa-copay-quote", body)
    assert (reply.status, reply.error["message"].partition(":")[0]) == (400, "provider_id")


@pytest.mark.parametrize(("kind", "currency"), [("standard", "NGN"), ("premium", "NGN"), ("credits", "CREDITS")])
async def test_currency_of_a_session(raw: Any, kind: str, currency: str) -> None:
    """A session says what its amount counts."""
    assert (await raw.post("/bookings/spa", make_booking_request(kind))).json["currency"] == currency
