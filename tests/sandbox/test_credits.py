"""Credits: exact money, one entry for each movement."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


async def test_purchase_adds_credits_at_once(raw: Any, buy: dict[str, str]) -> None:
    """The response holds the new balance, and so does the client."""
    bought = (await raw.post("/credit_purchases", buy)).json
    shown = (await raw.get("/clients/client_abc123/credits")).json
    assert (bought["balance"], shown["balance"], shown["transactions"][0]["amount"]) == (75, 75, 50)


async def test_client_credits_have_no_object_field(raw: Any) -> None:
    """The vendor's quirk is kept."""
    shown = (await raw.get("/clients/client_abc123/credits")).json
    assert shown.keys() == {"balance", "currency", "transactions", "message"}


async def test_ledger_entry_names_the_key(raw: Any, buy: dict[str, str]) -> None:
    """The ledger shows what moved the money."""
    await raw.post("/credit_purchases", buy, key="order-1")
    last = raw.sandbox.ledger("client_abc123")[-1]
    assert (last.type, last.amount, last.idempotency_key) == ("CREDIT", Decimal(50), "order-1")


async def test_reseller_pays_exactly(raw: Any) -> None:
    """An amount with a fraction reaches the ledger unchanged."""
    await raw.post("/credit_purchases", {"client_id": "client_abc123", "package_id": "cpkg_75"})
    assert raw.sandbox.account()[-1].amount == Decimal("71250.50")


async def test_unknown_package_is_404(raw: Any, buy: dict[str, str]) -> None:
    """An unknown package is not found."""
    reply = await raw.post("/credit_purchases", buy | {"package_id": "cpkg_none"})
    assert (reply.status, reply.error["code"]) == (404, "resource_not_found")


async def test_ledger_explains_every_balance(raw: Any) -> None:
    """From the start a client's entries add up to the balance."""
    total = sum(e.amount if e.type == "CREDIT" else -e.amount for e in raw.sandbox.ledger("client_0017"))
    assert (await raw.get("/clients/client_0017/credits")).json["balance"] == total
