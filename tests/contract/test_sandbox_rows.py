"""Every endpoint, through the client, against the sandbox: real behaviour, with nothing left in ``extra``."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import attrs
import pytest
import pytest_asyncio

from bardge_async import (
    ENDPOINTS,
    AccessCodeRequest,
    BardgeClient,
    BookClass,
    BookSpa,
    ConfirmClassBooking,
    InitiateLookup,
    IssuePass,
    Model,
    PurchaseCopayPackage,
    PurchaseCredits,
    PurchaseGymCopay,
    PurchaseSpaCopay,
    RescheduleBooking,
    SpaCopayQuoteRequest,
    UpdateIssuedPass,
    UpdateIssuedPassExpiry,
    VerifyLookup,
    Walk,
)
from bardge_async.sandbox import Sandbox

CLIENT = "client_abc123"
Scene = Callable[[BardgeClient, Sandbox], Awaitable[Any]]


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[tuple[BardgeClient, Sandbox]]:
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        yield bardge, sandbox


async def _book_class(bardge: BardgeClient) -> str:
    made = await bardge.bookings.initiate_class(BookClass(class_instance_id="ci_abc123", client_id=CLIENT))
    assert made.booking_id is not None
    return made.booking_id


async def _confirm_class(bardge: BardgeClient, _: Sandbox) -> Any:
    made = await bardge.bookings.initiate_class(BookClass(class_instance_id="ci_premium", client_id=CLIENT))
    return await bardge.bookings.confirm_class(
        made.session_id or "", ConfirmClassBooking(copay_package_id="copay_abc123")
    )


async def _initiate_spa(bardge: BardgeClient) -> Any:
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=7)
    request = BookSpa(
        provider_id="prov_spa_standard",
        service_ids=["svc_spa_standard_1", "svc_spa_standard_2"],
        date=day,
        time="11:00",
        client_id=CLIENT,
    )
    return await bardge.bookings.initiate_spa(request)


async def _confirm_spa(bardge: BardgeClient, _: Sandbox) -> Any:
    return await bardge.bookings.confirm_spa((await _initiate_spa(bardge)).session_id)


async def _cancel(bardge: BardgeClient, _: Sandbox) -> Any:
    return await bardge.bookings.cancel(await _book_class(bardge))


async def _reschedule(bardge: BardgeClient, _: Sandbox) -> Any:
    booking = await _book_class(bardge)
    async for listed in bardge.classes.list():
        dates = [date.id for date in (await bardge.classes.get(listed.id or "")).instances or ()]
        if "ci_abc123" in dates:
            other = next(date for date in dates if date != "ci_abc123")
            return await bardge.bookings.reschedule(booking, RescheduleBooking(class_instance_id=other))
    raise AssertionError("no class holds ci_abc123")


async def _request_quote(bardge: BardgeClient) -> Any:
    request = SpaCopayQuoteRequest(client_id=CLIENT, service_ids=("svc_spa_premium_1",))
    return await bardge.copay.quote_spa("prov_spa_premium", request)


async def _purchase_spa(bardge: BardgeClient, _: Sandbox) -> Any:
    quote = (await _request_quote(bardge)).quote_id
    return await bardge.copay.purchase_spa(
        PurchaseSpaCopay(client_id=CLIENT, provider_id="prov_spa_premium", quote_id=quote)
    )


async def _initiate_lookup(bardge: BardgeClient) -> str:
    made = await bardge.lookups.initiate(InitiateLookup(issuer_id="iss_zuma_bank", client_id="client_lookup"))
    assert made.id is not None
    return made.id


async def _verify(bardge: BardgeClient, sandbox: Sandbox) -> Any:
    lookup = await _initiate_lookup(bardge)
    return await bardge.lookups.verify(lookup, VerifyLookup(access_code=sandbox.lookup_code(lookup)))


async def _get_status(bardge: BardgeClient, _: Sandbox) -> Any:
    return await bardge.bookings.get_status(await _book_class(bardge))


async def _collect_items(walk: Walk[Any]) -> Any:
    items = [item async for item in walk]
    assert items
    return items[:50]


async def _get_class(bardge: BardgeClient, _: Sandbox) -> Any:
    first = await bardge.classes.list().first()
    assert first is not None
    return await bardge.classes.get(first.id or "")


async def _list_bookings(bardge: BardgeClient, _: Sandbox) -> Any:
    await _book_class(bardge)
    return await _collect_items(bardge.bookings.list_for_client(CLIENT))


GYM = PurchaseGymCopay(client_id=CLIENT, provider_id="prov_gym_premium", copay_package_id="copay_abc123")
PACKAGE = PurchaseCopayPackage(client_id=CLIENT, provider_id="prov_gym_premium", copay_package_id="copay_abc123")
EXPIRY = UpdateIssuedPassExpiry(expiry_date=dt.date(2031, 12, 31))
ISSUE = IssuePass(client_id="client_new", pass_id="pass_abc123", first_name="Ada", last_name="Obi")
CODE = AccessCodeRequest(client_id=CLIENT, provider_id="prov_gym_standard")
CREDITS = PurchaseCredits(client_id=CLIENT, package_id="cpkg_50")
BOOK = BookClass(class_instance_id="ci_abc123", client_id=CLIENT)

SCENES: dict[str, Scene] = {
    "passes.list": lambda b, _: _collect_items(b.passes.list()),
    "passes.issue": lambda b, _: b.passes.issue(ISSUE),
    "passes.update": lambda b, _: b.passes.update(UpdateIssuedPass(client_id=CLIENT, first_name="Ada")),
    "passes.update_expiry": lambda b, _: b.passes.update_expiry(CLIENT, EXPIRY),
    "passes.get_issued": lambda b, _: b.passes.get_issued(CLIENT),
    "providers.list": lambda b, _: _collect_items(b.providers.list(lat=6.5, lon=3.4)),
    "providers.list_for_pass": lambda b, _: _collect_items(b.providers.list_for_pass("pass_abc123")),
    "access_codes.generate": lambda b, _: b.access_codes.generate(CODE),
    "classes.list_categories": lambda b, _: _collect_items(b.classes.list_categories()),
    "classes.list": lambda b, _: _collect_items(b.classes.list()),
    "classes.get": _get_class,
    "bookings.initiate_class": lambda b, _: b.bookings.initiate_class(BOOK),
    "bookings.confirm_class": _confirm_class,
    "bookings.initiate_spa": lambda b, _: _initiate_spa(b),
    "bookings.confirm_spa": _confirm_spa,
    "bookings.list_for_client": _list_bookings,
    "bookings.get_status": _get_status,
    "bookings.cancel": _cancel,
    "bookings.reschedule": _reschedule,
    "copay.list_gym_options": lambda b, _: _collect_items(b.copay.list_gym_options("prov_gym_premium")),
    "copay.quote_spa": lambda b, _: _request_quote(b),
    "copay.purchase_gym": lambda b, _: b.copay.purchase_gym(GYM),
    "copay.purchase_spa": _purchase_spa,
    "copay.purchase_package": lambda b, _: b.copay.purchase_package(PACKAGE),
    "credits.purchase": lambda b, _: b.credits.purchase(CREDITS),
    "credits.list_packages": lambda b, _: _collect_items(b.credits.list_packages()),
    "lookups.list_issuers": lambda b, _: _collect_items(b.lookups.list_issuers()),
    "lookups.initiate": lambda b, _: b.lookups.initiate(
        InitiateLookup(issuer_id="iss_zuma_bank", client_id="client_lookup")
    ),
    "lookups.verify": _verify,
    "clients.get": lambda b, _: b.clients.get(CLIENT),
    "clients.get_credits": lambda b, _: b.clients.get_credits(CLIENT),
}


def collect_extra(value: Any) -> dict[str, Any]:
    """Collect what is in ``extra`` anywhere in a result."""
    if isinstance(value, list | tuple):
        items: list[Any] = list(cast("list[Any]", value))
        return {name: found for item in items for name, found in collect_extra(item).items()}
    if not isinstance(value, Model):
        return {}
    fields = [getattr(value, field.name) for field in attrs.fields(type(value)) if field.name != "extra"]
    return {**value.extra, **collect_extra(fields)}


def test_every_row_has_a_scene() -> None:
    """Every endpoint has a call against the sandbox."""
    assert SCENES.keys() == ENDPOINTS.keys()


@pytest.mark.parametrize("name", SCENES)
async def test_row_against_the_sandbox(name: str, stage: tuple[BardgeClient, Sandbox]) -> None:
    """The method reaches a real behaviour, whose response decodes with nothing left in ``extra``."""
    result = await SCENES[name](*stage)
    row = ENDPOINTS[name]
    first = result[0] if row.paginated else result
    assert type(first) is (row.item or row.response)
    assert collect_extra(result) == {}
    assert name in {request.endpoint for request in stage[1].requests}
