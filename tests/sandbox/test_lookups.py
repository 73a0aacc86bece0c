"""Lookups and access codes: another reseller's client, with the client's consent."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ISSUER = {"issuer_id": "iss_zuma_bank", "client_id": "client_lookup"}
CLASS = {"class_instance_id": "ci_abc123", "client_id": "client_lookup"}
DAY = 86_400


async def initiate_lookup(raw: Any) -> str:
    """Initiate a lookup."""
    return str((await raw.post("/lookups", ISSUER)).json["id"])


async def verify_lookup(raw: Any, id: str, code: object = None) -> Any:
    """Verify a code, by default the right one."""
    return await raw.post(f"/lookups/{id}/verify", {"access_code": code or raw.sandbox.lookup_code(id)})


async def obtain_token(raw: Any) -> str:
    """Initiate and verify a lookup, and return the token."""
    return str((await verify_lookup(raw, await initiate_lookup(raw))).json["lookup_token"])


async def test_token_is_told_once(raw: Any) -> None:
    """Verifying returns the token; a second time conflicts."""
    id = await initiate_lookup(raw)
    first, second = await verify_lookup(raw, id), await verify_lookup(raw, id)
    assert (first.json["lookup_token"][:5], second.status) == ("lkpt_", 409)


async def test_initiation_has_no_token(raw: Any) -> None:
    """Before verification there is no token."""
    assert "lookup_token" not in (await raw.post("/lookups", ISSUER)).json


async def test_token_opens_the_other_resellers_client(raw: Any) -> None:
    """A class is booked for the client of Zuma Bank, whose list then shows it."""
    made = await raw.post("/bookings/class", CLASS, token=await obtain_token(raw))
    theirs = await raw.get("/clients/client_lookup/bookings", limit=1, api_key=raw.sandbox.api_keys["zuma_bank"])
    assert theirs.ids == [made.json["booking_id"]]


async def test_token_opens_access_codes(raw: Any) -> None:
    """An access code is made for the looked-up client."""
    assert (
        await raw.post("/access-codes", {"client_id": "client_lookup"}, token=await obtain_token(raw))
    ).status == 201


@pytest.mark.parametrize("wrong", ["lkpt_none", "x"])
async def test_unknown_token_is_403(raw: Any, wrong: str) -> None:
    """An unknown token is rejected."""
    reply = await raw.post("/bookings/class", CLASS, token=wrong)
    assert (reply.status, reply.error["code"]) == (403, "permission_denied")


async def test_token_is_for_its_client(raw: Any) -> None:
    """A token with another client's id is a validation error."""
    reply = await raw.post("/bookings/class", CLASS | {"client_id": "client_abc123"}, token=await obtain_token(raw))
    assert (reply.status, reply.error["message"].partition(":")[0]) == (400, "client_id")


async def test_token_is_for_its_reseller(raw: Any) -> None:
    """A token is not valid for another account."""
    other = raw.sandbox.api_keys["kainji_health"]
    assert (await raw.post("/bookings/class", CLASS, token=await obtain_token(raw), api_key=other)).status == 403


async def test_token_expires(raw: Any) -> None:
    """A day later the token is rejected."""
    kept = await obtain_token(raw)
    raw.sandbox.clock.advance(DAY)
    assert (await raw.post("/bookings/class", CLASS, token=kept)).status == 403


async def test_wrong_code_is_400(raw: Any) -> None:
    """A wrong code names the field and leaves the lookup open."""
    id = await initiate_lookup(raw)
    wrong = await verify_lookup(raw, id, "none")
    assert (wrong.error["message"].partition(":")[0], (await verify_lookup(raw, id)).status) == ("access_code", 200)


async def test_code_expires(raw: Any) -> None:
    """After ten minutes a code is rejected."""
    id = await initiate_lookup(raw)
    raw.sandbox.clock.advance(600)
    assert (await verify_lookup(raw, id)).error["message"] == "access_code: the code has expired"


async def test_lookup_of_any_client(raw: Any) -> None:
    """Lookup is the issuer's setting, and consent is the code: every client of an issuer can be looked up."""
    reply = await raw.post("/lookups", {**ISSUER, "client_id": "client_abc123"})
    assert (reply.status, reply.json["status"]) == (201, "PENDING")


async def test_reseller_without_lookup(sandboxed: Any, tmp_path: Path) -> None:
    """A reseller that has not enabled third-party lookup is no issuer."""
    async with sandboxed(db=tmp_path / "state.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "state.db")) as state, state:
        state.execute("UPDATE resellers SET lookup_enabled = 0 WHERE id = ?", (ISSUER["issuer_id"],))
    async with sandboxed(db=tmp_path / "state.db") as raw:
        assert ISSUER["issuer_id"] not in (await raw.get("/issuers", limit=100)).ids
        assert (await raw.post("/lookups", ISSUER)).status == 404


@pytest.mark.parametrize(
    "change", [{"issuer_id": "iss_none"}, {"issuer_id": "iss_eko_benefits"}, {"client_id": "nobody"}]
)
async def test_unknown_issuer_or_client_is_404(raw: Any, change: dict[str, str]) -> None:
    """An unknown client, or the reseller's own, cannot be looked up."""
    assert (await raw.post("/lookups", ISSUER | change)).status == 404


async def test_unknown_lookup_is_404(raw: Any) -> None:
    """A lookup that was never initiated is not found."""
    assert (await verify_lookup(raw, "lkp_none", "1")).status == 404


async def test_issuers_are_the_others(raw: Any) -> None:
    """The list holds neither the reseller itself nor the disabled account."""
    found = (await raw.get("/issuers", limit=100)).ids
    assert {"iss_eko_benefits", "iss_disabled"} & set(found) == set()


async def test_access_code_is_a_picture_too(raw: Any) -> None:
    """The QR code is a data URI of a PNG."""
    reply = (await raw.post("/access-codes", {"client_id": "client_abc123"})).json
    kind, _, data = reply["qr_code"].partition(",")
    assert (kind, base64.b64decode(data)[:4]) == ("data:image/png;base64", b"\x89PNG")


async def test_access_code_dies_at_the_end_of_the_day(raw: Any) -> None:
    """It expires in the last second of today in Lagos."""
    expires = (await raw.post("/access-codes", {"client_id": "client_abc123"})).json["expires_at"] // 1000
    left = expires - raw.sandbox.clock.wall()
    assert ((expires + 3_600) % DAY, left < DAY) == (DAY - 1, True)


async def test_each_visit_has_its_own_code(raw: Any) -> None:
    """Two codes differ, and each takes a visit."""
    codes = {(await raw.post("/access-codes", {"client_id": "client_abc123"})).json["access_code"] for _ in range(2)}
    assert len(codes) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"client_id": "client_abc123", "provider_id": "prov_gym_standard"}, 201),
        ({"client_id": "client_abc123", "provider_id": "prov_gym_premium"}, 400),
        ({"client_id": "client_abc123", "provider_id": "prov_none"}, 404),
        ({"client_id": "client_visits_used", "provider_id": "prov_gym_standard"}, 400),
        ({"client_id": "client_visits_used", "provider_id": "prov_spa_standard"}, 201),
        ({"client_id": "client_expired"}, 404),
        ({}, 400),
    ],
)
async def test_code_goes_by_the_pass(raw: Any, body: dict[str, str], status: int) -> None:
    """A code is made if the pass covers the provider and a visit is left."""
    assert (await raw.post("/access-codes", body)).status == status


async def test_bought_copay_makes_a_code(raw: Any) -> None:
    """If the pass does not cover the provider, a bought co-pay does, once for each visit."""
    place = {"client_id": "client_abc123", "provider_id": "prov_gym_premium"}
    await raw.post("/gym_copay_purchases", place | {"copay_package_id": "copay_abc123"})
    assert [(await raw.post("/access-codes", place)).status for _ in range(2)] == [201, 400]
