"""Every list pages by both cursors and rejects what is no limit or cursor."""

from __future__ import annotations

from typing import Any

import pytest

LISTS = {
    "/passes": "id",
    "/providers": "id",
    "/providers?lat=6.45&lon=3.42": "id",
    "/passes/pass_abc123/providers": "id",
    "/classes/categories": "id",
    "/classes": "id",
    "/clients/client_abc123/bookings": "id",
    "/providers/prov_gym_premium/gym-copay-options": "copay_package_id",
    "/credit_packages": "id",
    "/issuers": "id",
}
every_list = pytest.mark.parametrize(("path", "cursor"), LISTS.items())


def read_ids(reply: Any, cursor: str) -> list[str]:
    """Read the cursor fields of a page."""
    return [item[cursor] for item in reply.json["data"]]


async def read_whole_list(raw: Any, path: str, cursor: str, limit: int) -> list[str]:
    """Read a list to its end."""
    found: list[str] = []
    query: dict[str, Any] = {}
    while True:
        reply = await raw.get(path, limit=limit, **query)
        found += read_ids(reply, cursor)
        if not reply.json["has_more"]:
            return found
        query = {"starting_after": found[-1]}


@every_list
async def test_pages_join_without_gap_or_repeat(raw: Any, path: str, cursor: str) -> None:
    """Small pages give the same items in the same order as large ones."""
    small, large = await read_whole_list(raw, path, cursor, 13), await read_whole_list(raw, path, cursor, 100)
    assert (small, len(set(small))) == (large, len(large))


@every_list
async def test_ending_before_is_the_page_just_before(raw: Any, path: str, cursor: str) -> None:
    """The page before an item holds its neighbours, in list order."""
    first = read_ids(await raw.get(path, limit=4), cursor)
    reply = await raw.get(path, limit=2, ending_before=first[3])
    assert (read_ids(reply, cursor), reply.json["has_more"]) == (first[1:3], True)


@every_list
async def test_nothing_is_before_the_first(raw: Any, path: str, cursor: str) -> None:
    """Before the first item the page is empty and the end."""
    (first,) = read_ids(await raw.get(path, limit=1), cursor)
    reply = await raw.get(path, ending_before=first)
    assert (reply.json["data"], reply.json["has_more"]) == ([], False)


@every_list
@pytest.mark.parametrize("limit", ["0", "101", "ten", "1.5", "٣"])
async def test_bad_limit_is_named(raw: Any, path: str, cursor: str, limit: str) -> None:
    """A limit that is no whole number from 1 to 100 is a 400 that names it."""
    reply = await raw.get(path, limit=limit)
    assert (reply.status, reply.error["type"], "limit" in reply.error["message"]) == (
        400,
        "invalid_request_error",
        True,
    )


@every_list
@pytest.mark.parametrize("parameter", ["starting_after", "ending_before"])
async def test_unknown_cursor_is_named(raw: Any, path: str, cursor: str, parameter: str) -> None:
    """A cursor that names no item of the list is a 400 that names the parameter."""
    reply = await raw.get(path, **{parameter: "nothing"})
    assert (reply.status, parameter in reply.error["message"]) == (400, True)


@every_list
async def test_both_cursors_are_refused(raw: Any, path: str, cursor: str) -> None:
    """The cursors cannot be combined."""
    first = read_ids(await raw.get(path, limit=2), cursor)
    assert (await raw.get(path, starting_after=first[0], ending_before=first[1])).status == 400


async def test_default_page_holds_ten(raw: Any) -> None:
    """Without a limit a page has ten items and more follow."""
    reply = await raw.get("/passes")
    assert (len(reply.ids), reply.json["has_more"]) == (10, True)


async def test_page_says_where_it_came_from(raw: Any) -> None:
    """The envelope is the documented one."""
    reply = await raw.get("/passes", limit=1)
    envelope = {k: v for k, v in reply.json.items() if k != "data"}
    assert envelope == {
        "object": "list",
        "has_more": True,
        "url": "/v3/api/business/reseller/passes",
        "message": "Passes retrieved successfully",
    }


async def test_new_items_come_first(raw: Any) -> None:
    """A new booking is first in the list."""
    made = await raw.post("/bookings/class", {"class_instance_id": "ci_abc123", "client_id": "client_abc123"})
    assert (await raw.get("/clients/client_abc123/bookings", limit=1)).ids == [made.json["booking_id"]]


async def test_cursor_of_another_client_is_unknown(raw: Any) -> None:
    """A cursor must name an item of this very list."""
    (other,) = (await raw.get("/clients/client_lookup/bookings", limit=1)).ids
    assert (await raw.get("/clients/client_abc123/bookings", starting_after=other)).status == 400


async def test_place_orders_by_distance(raw: Any) -> None:
    """With a location the nearest provider comes first."""
    found = (await raw.get("/providers", limit=100, lat=9.06, lon=7.49)).json["data"]
    distances = [item["distance"] for item in found]
    assert (distances, found[0]["city"], found[-1]["city"]) == (sorted(distances), "Abuja", "Lagos")


@pytest.mark.parametrize(
    ("query", "named"),
    [({"lat": 6.4}, "lon"), ({"lon": 3.4}, "lat"), ({"lat": 91, "lon": 3}, "lat"), ({"lat": "nan", "lon": 3}, "lat")],
)
async def test_bad_place_is_named(raw: Any, query: dict[str, Any], named: str) -> None:
    """A location needs both coordinates within their bounds."""
    reply = await raw.get("/providers", **query)
    assert (reply.status, reply.error["message"].partition(":")[0]) == (400, named)


async def test_pass_leads_to_its_providers(raw: Any) -> None:
    """The providers of a pass are those of its categories and tiers, as many as it says."""
    package = (await raw.get("/passes", limit=1)).json["data"][0]
    found = (await raw.get(f"/passes/{package['id']}/providers", limit=100)).json["data"]
    assert (len(found), {item["tier"] for item in found}) == (package["provider_count"], {"STANDARD"})
