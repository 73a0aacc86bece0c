"""Visits at a gym, which no endpoint reports."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bardge_async.errors import InvalidArgumentError

GYM = "prov_gym_standard"


async def read_credits(raw: Any, client: str = "client_abc123") -> Decimal:
    """Return the client's balance."""
    return Decimal(str((await raw.get(f"/clients/{client}/credits")).json["balance"]))


async def send_check_in(raw: Any, body: dict[str, Any]) -> tuple[int, Any]:
    """Log a visit by the control."""
    async with raw.session.post(f"{raw.sandbox.control_url}/check-ins", json=body) as response:
        return response.status, await response.json()


async def test_check_in_takes_credits(raw: Any) -> None:
    """Without an access code a visit is deducted from the credits, and the client's transactions show it."""
    visit = raw.sandbox.check_in("client_abc123", GYM)
    answer = (await raw.get("/clients/client_abc123/credits")).json
    shown = answer["transactions"][0]
    assert (visit.paid_with, visit.credits, answer["balance"]) == ("credits", Decimal(5), 20)
    assert (shown["type"], shown["amount"], shown["description"][:14]) == ("DEBIT", 5, "Gym check-in \u2014")


async def test_check_in_uses_up_a_code(raw: Any) -> None:
    """An access code lets its client in once, at no credits; the next visit takes credits."""
    await raw.post("/access-codes", {"client_id": "client_abc123", "provider_id": GYM})
    visits = [raw.sandbox.check_in("client_abc123", GYM) for _ in range(2)]
    assert [(visit.paid_with, visit.credits) for visit in visits] == [("access_code", 0), ("credits", 5)]


async def test_code_of_another_gym(raw: Any) -> None:
    """A code for one gym opens no other."""
    await raw.post("/access-codes", {"client_id": "client_abc123", "provider_id": GYM})
    assert raw.sandbox.check_in("client_abc123", "prov_gym_premium").paid_with == "credits"


async def test_code_of_yesterday(raw: Any) -> None:
    """A code dies at the end of its day."""
    await raw.post("/access-codes", {"client_id": "client_abc123"})
    raw.sandbox.clock.advance(86_400)
    assert raw.sandbox.check_in("client_abc123", GYM).paid_with == "credits"


async def test_too_few_credits(raw: Any) -> None:
    """With neither code nor credits the visit is refused, and nothing is taken."""
    with pytest.raises(InvalidArgumentError, match="insufficient credits"):
        raw.sandbox.check_in("client_no_pass", GYM)
    assert (await read_credits(raw, "client_no_pass"), raw.sandbox.ledger("client_no_pass")) == (Decimal(0), ())


@pytest.mark.parametrize(("client", "gym", "named"), [("c", GYM, "client_id"), ("client_abc123", "x", "provider_id")])
async def test_unknown_ids(raw: Any, client: str, gym: str, named: str) -> None:
    """An unknown client or gym is named."""
    with pytest.raises(InvalidArgumentError, match=f"^{named}: "):
        raw.sandbox.check_in(client, gym)


async def test_check_in_over_http(raw: Any) -> None:
    """Other processes log a visit by a control, which returns it."""
    status, visit = await send_check_in(raw, {"client_id": "client_abc123", "provider_id": GYM})
    assert (status, visit["paid_with"], visit["credits"]) == (200, "credits", "5")


@pytest.mark.parametrize("body", [{}, {"client_id": "client_abc123"}, {"client_id": 5, "provider_id": GYM}, {"x": 1}])
async def test_wrong_check_in(raw: Any, body: dict[str, Any]) -> None:
    """A control without client or gym, or with an unknown field, is refused."""
    assert (await send_check_in(raw, body))[0] == 400
