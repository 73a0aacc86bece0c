"""The shop charges each order once, whatever the network does."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from bardge_async import BardgeClient, NotFoundError
from bardge_async.sandbox import Fault, Sandbox
from bardge_async.testing import FakeTransport, json_response

from shop import Order, Unsettled, check_out

pytestmark = pytest.mark.asyncio

ORDER = Order("8731", "client_abc123", "cpkg_50")
LOST = Fault(kind="cut_after", endpoint="credits.purchase", times=None)


async def test_order_is_charged(bardge_client: BardgeClient, bardge_sandbox: Sandbox) -> None:
    """The customer gets the credits, and the shop is charged."""
    receipt = await check_out(bardge_client, ORDER)
    assert (receipt.balance, len(bardge_sandbox.account())) == (Decimal(75), 1)


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "truncate"])
async def test_faulty_network_charges_once(bardge_client: BardgeClient, bardge_sandbox: Sandbox, kind: str) -> None:
    """After a lost response, the client retries under the same key."""
    bardge_sandbox.faults.script([Fault(kind=kind, endpoint="credits.purchase")])
    await check_out(bardge_client, ORDER)
    assert len(bardge_sandbox.account()) == 1


async def test_two_clicks_charge_once(bardge_client: BardgeClient, bardge_sandbox: Sandbox) -> None:
    """The same order, checked out again later, is charged once."""
    for _ in range(2):
        await check_out(bardge_client, ORDER)
        bardge_sandbox.clock.advance(30)
    assert len(bardge_sandbox.account()) == 1


@pytest.mark.bardge(faults=[LOST])
async def test_unknown_outcome_is_left_to_a_person(bardge_client: BardgeClient, bardge_sandbox: Sandbox) -> None:
    """After the window the order is not sent again, even if the network works."""
    for _ in range(2):
        with pytest.raises(Unsettled):
            await check_out(bardge_client, ORDER)
        bardge_sandbox.faults.clear()
        bardge_sandbox.clock.advance(91)
    assert len(bardge_sandbox.account()) == 1


async def test_hundred_orders_on_a_faulty_network(bardge_client: BardgeClient, bardge_sandbox: Sandbox) -> None:
    """Every order is charged once, although a fifth of all requests fail."""
    bardge_sandbox.faults.random(0.2, seed=7)
    orders = [Order(f"{n}", f"client_{n + 10:04d}", "cpkg_10") for n in range(100)]
    done = await asyncio.gather(*(check_out(bardge_client, order) for order in orders), return_exceptions=True)
    charged = [entry.idempotency_key for entry in bardge_sandbox.account()]
    assert (len(charged), len(set(charged))) == (len(charged), len(charged))
    assert sum(not isinstance(one, BaseException) for one in done) >= 95


async def test_unknown_package_is_an_error() -> None:
    """A refusal by the API is raised as its error; testing that needs no server."""
    error = {"type": "invalid_request_error", "code": "resource_not_found", "message": "No package."}
    async with BardgeClient("key", transport=FakeTransport(json_response({"error": error}, 404))) as bardge:
        with pytest.raises(NotFoundError):
            await check_out(bardge, ORDER)
