"""Class bookings: three outcomes, their confirmations, races, cancelling and rescheduling."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

MINUTE = 60


def make_booking_request(instance: str = "ci_abc123", client: str = "client_abc123") -> dict[str, str]:
    """Make the body of a booking request."""
    return {"class_instance_id": instance, "client_id": client}


async def open_session(raw: Any, body: dict[str, str]) -> str:
    """Open a session."""
    return str((await raw.post("/bookings/class", body)).json["session_id"])


async def count_spots(raw: Any, instance: str = "ci_abc123") -> int:
    """Count the free spots."""
    for id in (await raw.get("/classes", limit=100)).ids:
        for date in (await raw.get(f"/classes/{id}")).json["instances"]:
            if date["id"] == instance:
                return int(date["spots_left"])
    raise AssertionError(instance)


async def test_covered_class_is_booked_at_once(raw: Any) -> None:
    """A pass with visits at the gym's tier books without a session; instants are in seconds."""
    reply = (await raw.post("/bookings/class", make_booking_request())).json
    found = (reply["copay_required"], reply["additional_visits_required"], reply["status"], reply["visits_deducted"])
    assert (*found, "session_id" in reply, reply["created"] < 10**11) == (False, False, "PENDING", 1, False, True)


async def test_booking_takes_a_place(raw: Any) -> None:
    """The instance has one spot less."""
    await raw.post("/bookings/class", make_booking_request())
    assert await count_spots(raw) == 999


async def test_used_up_visits_need_more(raw: Any) -> None:
    """Without a visit left the response has a session and a price per visit."""
    reply = (await raw.post("/bookings/class", make_booking_request(client="client_visits_used"))).json
    assert (reply["additional_visits_required"], reply["cost_per_visit"], "booking_id" in reply) == (True, 3500, False)


async def test_confirming_visits_debits_cost_times_visits(raw: Any) -> None:
    """Five visits are paid by the reseller, and one of them is used."""
    id = await open_session(raw, make_booking_request(client="client_visits_used"))
    body = {"number_of_visits": 5, "duration": "ANNUALLY"}
    booking = (await raw.post(f"/bookings/class/{id}/confirm", body)).json
    shown = (await raw.get("/issued_passes/client_visits_used")).json["categories"][0]["visits_allowed"]
    assert (booking["status"], raw.sandbox.account()[-1].amount, shown) == ("PENDING", Decimal(17_500), 245)


async def test_other_tier_needs_a_copay(raw: Any) -> None:
    """A gym above the pass's tier offers its co-pay options."""
    reply = (await raw.post("/bookings/class", make_booking_request("ci_premium"))).json
    assert (reply["copay_required"], reply["copay_options"][0]["copay_package_id"]) == (True, "copay_abc123")


async def test_confirming_a_copay_debits_its_price(raw: Any) -> None:
    """The chosen option is paid by the reseller."""
    id = await open_session(raw, make_booking_request("ci_premium"))
    booking = await raw.post(f"/bookings/class/{id}/confirm", {"copay_package_id": "copay_abc123"})
    assert (booking.json["object"], raw.sandbox.account()[-1].amount) == ("booking", Decimal(3_500))


async def test_bought_copay_covers_the_next_class(raw: Any) -> None:
    """A co-pay bought beforehand books immediately."""
    body = {"client_id": "client_abc123", "provider_id": "prov_gym_premium", "copay_package_id": "copay_abc123"}
    await raw.post("/gym_copay_purchases", body)
    assert "booking_id" in (await raw.post("/bookings/class", make_booking_request("ci_premium"))).json


@pytest.mark.parametrize(("instance", "client"), [("ci_premium", "client_abc123"), ("ci_abc123", "client_visits_used")])
async def test_page_example_confirms(raw: Any, instance: str, client: str) -> None:
    """The page's example of a confirmation, with all three fields, confirms a session of either outcome."""
    id = await open_session(raw, make_booking_request(instance, client))
    body = {"copay_package_id": "copay_abc123", "number_of_visits": 5, "duration": "ANNUALLY"}
    reply = await raw.post(f"/bookings/class/{id}/confirm", body)
    assert (reply.status, reply.json["object"]) == (201, "booking")


@pytest.mark.parametrize(
    ("instance", "client", "body", "named"),
    [
        ("ci_premium", "client_abc123", {}, "copay_package_id"),
        ("ci_premium", "client_abc123", {"copay_package_id": "copay_none"}, "copay_package_id"),
        ("ci_premium", "client_abc123", {"number_of_visits": 5, "duration": "ANNUALLY"}, "copay_package_id"),
        ("ci_abc123", "client_visits_used", {}, "number_of_visits"),
        ("ci_abc123", "client_visits_used", {"number_of_visits": 0, "duration": "ANNUALLY"}, "number_of_visits"),
        ("ci_abc123", "client_visits_used", {"number_of_visits": True, "duration": "ANNUALLY"}, "number_of_visits"),
        ("ci_abc123", "client_visits_used", {"number_of_visits": 5}, "duration"),
        ("ci_abc123", "client_visits_used", {"number_of_visits": 5, "duration": "daily"}, "duration"),
        ("ci_abc123", "client_visits_used", {"copay_package_id": "copay_abc123"}, "number_of_visits"),
    ],
)
async def test_wrong_confirmation_is_named(
    raw: Any, instance: str, client: str, body: dict[str, Any], named: str
) -> None:
    """What the session's outcome needs and the body lacks is a validation error of the field."""
    id = await open_session(raw, make_booking_request(instance, client))
    reply = await raw.post(f"/bookings/class/{id}/confirm", body)
    assert (reply.status, reply.error["message"].partition(":")[0]) == (400, named)


async def test_session_expires(raw: Any) -> None:
    """An expired session is not found."""
    id = await open_session(raw, make_booking_request("ci_premium"))
    raw.sandbox.clock.advance(15 * MINUTE)
    assert (await raw.post(f"/bookings/class/{id}/confirm", {"copay_package_id": "copay_abc123"})).status == 404


async def test_session_is_confirmed_once(raw: Any) -> None:
    """A second confirmation conflicts, and charges nothing."""
    id = await open_session(raw, make_booking_request("ci_premium"))
    replies = [await raw.post(f"/bookings/class/{id}/confirm", {"copay_package_id": "copay_abc123"}) for _ in range(2)]
    assert ([r.status for r in replies], len(raw.sandbox.account())) == ([201, 409], 1)


async def test_credits_pay_a_class_priced_in_credits(raw: Any) -> None:
    """Five credits are spent at booking time."""
    await raw.post("/bookings/class", make_booking_request("ci_credits"))
    assert raw.sandbox.ledger("client_abc123")[-1].amount == Decimal(5)


async def test_too_few_credits_are_400(raw: Any) -> None:
    """The page's own rule: too small a balance is a validation error."""
    replies = [await raw.post("/bookings/class", make_booking_request("ci_credits")) for _ in range(6)]
    assert ([r.status for r in replies], replies[5].error["code"]) == ([201] * 5 + [400], "validation_error")


@pytest.mark.parametrize("instance", ["ci_abc123", "ci_premium", "ci_credits"])
@pytest.mark.parametrize("client", ["client_no_pass", "client_expired", "client_cancelled"])
async def test_booking_needs_a_valid_pass(raw: Any, instance: str, client: str) -> None:
    """Without a valid issued pass nothing is booked, at whatever price."""
    reply = await raw.post("/bookings/class", make_booking_request(instance, client))
    assert (reply.status, reply.error["code"]) == (404, "pass_not_found")


@pytest.mark.parametrize("act", ["cancel", "reschedule", "status"])
async def test_booking_of_another_reseller(raw: Any, act: str) -> None:
    """An operation on another reseller's booking is denied, without side effects."""
    id = (await raw.post("/bookings/class", make_booking_request())).json["booking_id"]
    other = raw.sandbox.api_keys["zuma_bank"]
    path = f"/bookings/{id}"
    reply = await (raw.get(path, api_key=other) if act == "status" else raw.post(f"{path}/{act}", {}, api_key=other))
    assert (reply.status, reply.error["type"], reply.error["code"]) == (403, "permission_error", "permission_denied")
    assert (await raw.get(path)).json["status"] == "PENDING"


async def test_full_class_is_409(raw: Any) -> None:
    """A full class returns the documented code."""
    reply = await raw.post("/bookings/class", make_booking_request("ci_full"))
    assert (reply.status, reply.error["type"], reply.error["code"]) == (409, "resource_conflict_error", "class_full")


async def test_last_place_goes_to_one(raw: Any) -> None:
    """Two clients race for the last spot: one booking, one ``class_full``, and no visit lost."""
    asks = (
        raw.post("/bookings/class", make_booking_request("ci_last", client))
        for client in ("client_abc123", "client_lookup")
    )
    replies = await asyncio.gather(*asks)
    codes = sorted(r.json.get("error", {}).get("code", r.json.get("status")) for r in replies)
    assert codes == ["PENDING", "class_full"]


async def test_place_may_go_while_a_session_is_open(raw: Any) -> None:
    """A session reserves no spot: its confirmation can find the class full, and nothing is charged then."""
    id = await open_session(raw, make_booking_request("ci_last", "client_visits_used"))
    await raw.post("/bookings/class", make_booking_request("ci_last"))
    reply = await raw.post(f"/bookings/class/{id}/confirm", {"number_of_visits": 5, "duration": "MONTHLY"})
    assert (reply.error["code"], raw.sandbox.account()) == ("class_full", ())


async def test_past_class_cannot_be_booked(raw: Any) -> None:
    """A class that has started is a validation error."""
    raw.sandbox.clock.advance(30 * 86_400)
    assert (await raw.post("/bookings/class", make_booking_request())).error["message"].startswith("class_instance_id:")


@pytest.mark.parametrize("client", ["client_expired", "client_cancelled", "client_no_pass"])
async def test_without_a_pass_no_class(raw: Any, client: str) -> None:
    """An expired pass, or none, is ``pass_not_found``."""
    assert (await raw.post("/bookings/class", make_booking_request(client=client))).error["code"] == "pass_not_found"


async def test_pass_of_another_category_covers_no_class(raw: Any) -> None:
    """A spa pass at a gym without co-pay is a validation error."""
    await raw.post("/issued_passes", {"client_id": "client_new", "pass_id": "pass_oasis_4_monthly"})
    reply = await raw.post("/bookings/class", make_booking_request(client="client_new"))
    assert (reply.status, reply.error["message"].partition(":")[0]) == (400, "user_pass_id")


async def test_unknown_class_date_is_404(raw: Any) -> None:
    """An instance that does not exist is not found."""
    assert (await raw.post("/bookings/class", make_booking_request("ci_none"))).status == 404


async def test_pass_can_be_named(raw: Any) -> None:
    """``user_pass_id`` selects the pass, and must be the client's."""
    replies = [
        await raw.post("/bookings/class", make_booking_request() | {"user_pass_id": f"brgpass_{n}"})
        for n in ("abc123", "x")
    ]
    assert [r.status for r in replies] == [201, 404]


async def test_cancelling_gives_place_and_visit_back(raw: Any) -> None:
    """The refund names the visit, and the spot is free again."""
    made = (await raw.post("/bookings/class", make_booking_request())).json
    reply = (await raw.post(f"/bookings/{made['booking_id']}/cancel")).json
    found = (reply["status"], reply["refund"]["visits_restored"], await count_spots(raw))
    assert found == ("CANCELLED", 1, 1_000)


async def test_cancelling_gives_credits_back(raw: Any) -> None:
    """Credits that were spent are refunded as an entry of their own."""
    made = (await raw.post("/bookings/class", make_booking_request("ci_credits"))).json
    refund = (await raw.post(f"/bookings/{made['booking_id']}/cancel")).json["refund"]
    last = raw.sandbox.ledger("client_abc123")[-1]
    assert (refund["amount"], last.type, last.amount) == (5, "CREDIT", Decimal(5))


async def test_cancelling_gives_a_copay_visit_back(raw: Any) -> None:
    """After a cancellation the bought co-pay covers a class again."""
    id = await open_session(raw, make_booking_request("ci_premium"))
    made = (await raw.post(f"/bookings/class/{id}/confirm", {"copay_package_id": "copay_abc123"})).json
    await raw.post(f"/bookings/{made['id']}/cancel")
    assert "booking_id" in (await raw.post("/bookings/class", make_booking_request("ci_premium"))).json


async def test_cancelling_twice_conflicts(raw: Any) -> None:
    """Already cancelled is a 409."""
    made = (await raw.post("/bookings/class", make_booking_request())).json
    replies = [await raw.post(f"/bookings/{made['booking_id']}/cancel") for _ in range(2)]
    assert ([r.status for r in replies], replies[1].error["type"]) == ([200, 409], "resource_conflict_error")


@pytest.mark.parametrize(("honoured", "statuses"), [(False, [200, 409]), (True, [200, 200])])
async def test_unproven_keys_count_by_switch(sandboxed: Any, *, honoured: bool, statuses: list[int]) -> None:
    """An endpoint marked K? ignores the key by default."""
    async with sandboxed(keyed={"bookings.cancel": honoured}) as raw:
        made = (await raw.post("/bookings/class", make_booking_request())).json
        path = f"/bookings/{made['booking_id']}/cancel"
        assert [(await raw.post(path, key="cancel-1")).status for _ in range(2)] == statuses


async def test_booking_is_completed_when_its_time_has_come(raw: Any) -> None:
    """A class that has taken place can no longer be cancelled."""
    made = (await raw.post("/bookings/class", make_booking_request())).json
    raw.sandbox.clock.advance(30 * 86_400)
    state = (await raw.get(f"/bookings/{made['booking_id']}")).json["status"]
    assert (state, (await raw.post(f"/bookings/{made['booking_id']}/cancel")).status) == ("COMPLETED", 409)


async def find_other_date(raw: Any, class_name: str) -> str:
    """Find another date of the class that ``ci_abc123`` belongs to."""
    for item in (await raw.get("/classes", limit=100)).json["data"]:
        if item["name"] == class_name and item["provider_id"] == "prov_gym_standard":
            dates = (await raw.get(f"/classes/{item['id']}")).json["instances"]
            return str(next(date["id"] for date in dates if date["id"] != "ci_abc123"))
    raise AssertionError(class_name)


async def test_rescheduling_closes_the_old_and_makes_a_new(raw: Any) -> None:
    """The old booking is rescheduled, its spot free, and the new one has another id."""
    made = (await raw.post("/bookings/class", make_booking_request())).json
    body = {"class_instance_id": await find_other_date(raw, made["class_name"])}
    new = (await raw.post(f"/bookings/{made['booking_id']}/reschedule", body)).json
    old = (await raw.get(f"/bookings/{made['booking_id']}")).json["status"]
    assert (old, new["status"], new["id"] != made["booking_id"], await count_spots(raw)) == (
        "RESCHEDULED",
        "PENDING",
        True,
        1_000,
    )


@pytest.mark.parametrize("instance", ["ci_abc123", "ci_premium", None])
async def test_moving_needs_another_date_of_the_class(raw: Any, instance: str | None) -> None:
    """The same date, another class or nothing is a validation error."""
    made = (await raw.post("/bookings/class", make_booking_request())).json
    reply = await raw.post(f"/bookings/{made['booking_id']}/reschedule", {"class_instance_id": instance})
    assert (reply.status, reply.error["message"].partition(":")[0]) == (400, "class_instance_id")


async def test_rescheduled_booking_cannot_be_moved_again(raw: Any) -> None:
    """A closed booking stays closed."""
    made = (await raw.post("/bookings/class", make_booking_request())).json
    body = {"class_instance_id": await find_other_date(raw, made["class_name"])}
    replies = [await raw.post(f"/bookings/{made['booking_id']}/reschedule", body) for _ in range(2)]
    assert [r.status for r in replies] == [201, 409]
