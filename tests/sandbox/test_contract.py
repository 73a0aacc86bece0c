"""The sandbox and the table agree, and no response holds a field that the models do not know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import attrs
import pytest

from bardge_async._core.converter import structure_value
from bardge_async.endpoints import ENDPOINTS
from bardge_async.models import Model
from bardge_async.sandbox import BEHAVIOURS

DAY = {"date": "2099-01-05", "time": "10:00"}
CLASS = {"class_instance_id": "ci_abc123", "client_id": "client_abc123"}
SPA = {"provider_id": "prov_spa_standard", "service_ids": ["svc_spa_standard_1"], "client_id": "client_abc123", **DAY}
GYM_COPAY = {"client_id": "client_abc123", "provider_id": "prov_gym_premium", "copay_package_id": "copay_abc123"}


async def _open_session(raw: Any, path: str, body: dict[str, Any]) -> str:
    return str((await raw.post(path, body)).json["session_id"])


async def _book_class(raw: Any) -> str:
    return str((await raw.post("/bookings/class", CLASS)).json["booking_id"])


async def _issue_pass(raw: Any) -> Any:
    return await raw.post("/issued_passes", {"client_id": "client_new", "pass_id": "pass_abc123"})


async def _confirm_class(raw: Any) -> Any:
    session = await _open_session(raw, "/bookings/class", CLASS | {"class_instance_id": "ci_premium"})
    return await raw.post(f"/bookings/class/{session}/confirm", {"copay_package_id": "copay_abc123"})


async def _confirm_spa(raw: Any) -> Any:
    return await raw.post(f"/bookings/spa/{await _open_session(raw, '/bookings/spa', SPA)}/confirm")


async def _reschedule(raw: Any) -> Any:
    dates = (await raw.get("/classes/" + await find_class(raw, "ci_abc123"))).json["instances"]
    other = next(date["id"] for date in dates if date["id"] != "ci_abc123")
    return await raw.post(f"/bookings/{await _book_class(raw)}/reschedule", {"class_instance_id": other})


async def _purchase_spa(raw: Any) -> Any:
    services = {"client_id": "client_abc123", "service_ids": ["svc_spa_premium_1"]}
    quote = (await raw.post("/providers/prov_spa_premium/spa-copay-quote", services)).json["quote_id"]
    body = {"client_id": "client_abc123", "provider_id": "prov_spa_premium", "quote_id": quote}
    return await raw.post("/spa_copay_purchases", body)


async def _initiate_lookup(raw: Any) -> Any:
    return await raw.post("/lookups", {"issuer_id": "iss_zuma_bank", "client_id": "client_lookup"})


async def _verify(raw: Any) -> Any:
    id = (await _initiate_lookup(raw)).json["id"]
    return await raw.post(f"/lookups/{id}/verify", {"access_code": raw.sandbox.lookup_code(id)})


def _make_get(path: str) -> Callable[[Any], Awaitable[Any]]:
    return lambda raw: raw.get(path)


def _make_post(path: str, body: dict[str, Any] | None) -> Callable[[Any], Awaitable[Any]]:
    return lambda raw: raw.post(path, body)


async def find_class(raw: Any, instance: str) -> str:
    """Find the class of an instance."""
    for id in (await raw.get("/classes", limit=100)).ids:
        if any(date["id"] == instance for date in (await raw.get(f"/classes/{id}")).json["instances"]):
            return str(id)
    raise AssertionError(instance)


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "passes.list": _make_get("/passes"),
    "passes.issue": _issue_pass,
    "passes.update": _make_post("/issued_passes/update", {"client_id": "client_abc123", "first_name": "Ada"}),
    "passes.update_expiry": _make_post("/issued_passes/client_abc123/expiry", {"expiry_date": "2099-12-31"}),
    "passes.get_issued": _make_get("/issued_passes/client_abc123"),
    "providers.list": _make_get("/providers?lat=6.4&lon=3.4"),
    "providers.list_for_pass": _make_get("/passes/pass_abc123/providers"),
    "access_codes.generate": _make_post("/access-codes", {"client_id": "client_abc123"}),
    "classes.list_categories": _make_get("/classes/categories"),
    "classes.list": _make_get("/classes"),
    "classes.get": _make_get("/classes/class_0001"),
    "bookings.initiate_class": _make_post("/bookings/class", CLASS | {"class_instance_id": "ci_premium"}),
    "bookings.confirm_class": _confirm_class,
    "bookings.initiate_spa": _make_post("/bookings/spa", SPA),
    "bookings.confirm_spa": _confirm_spa,
    "bookings.list_for_client": _make_get("/clients/client_abc123/bookings"),
    "bookings.get_status": lambda raw: _call_with_booking(raw, "get", "/bookings/{}"),
    "bookings.cancel": lambda raw: _call_with_booking(raw, "post", "/bookings/{}/cancel"),
    "bookings.reschedule": _reschedule,
    "copay.list_gym_options": _make_get("/providers/prov_gym_premium/gym-copay-options"),
    "copay.quote_spa": _make_post(
        "/providers/prov_spa_premium/spa-copay-quote",
        {"client_id": "client_abc123", "service_ids": ["svc_spa_premium_1"]},
    ),
    "copay.purchase_gym": _make_post("/gym_copay_purchases", GYM_COPAY),
    "copay.purchase_spa": _purchase_spa,
    "copay.purchase_package": _make_post("/copay_purchases", GYM_COPAY),
    "credits.purchase": _make_post("/credit_purchases", {"client_id": "client_abc123", "package_id": "cpkg_50"}),
    "credits.list_packages": _make_get("/credit_packages"),
    "lookups.list_issuers": _make_get("/issuers"),
    "lookups.initiate": _initiate_lookup,
    "lookups.verify": _verify,
    "clients.get": _make_get("/clients/client_abc123"),
    "clients.get_credits": _make_get("/clients/client_abc123/credits"),
}


async def _call_with_booking(raw: Any, method: str, path: str) -> Any:
    return await getattr(raw, method)(path.format(await _book_class(raw)))


def test_every_row_has_a_behaviour() -> None:
    """Table and behaviours hold the same names."""
    assert BEHAVIOURS.keys() == ENDPOINTS.keys()


def test_every_row_is_called_here() -> None:
    """Every endpoint has a call below."""
    assert CALLS.keys() == ENDPOINTS.keys()


@pytest.mark.parametrize("name", CALLS)
async def test_row_answers_what_its_model_knows(raw: Any, name: str) -> None:
    """A success decodes strictly, and no field of it is left in ``extra``."""
    reply = await CALLS[name](raw)
    value = structure_value(reply.json, reply.body, ENDPOINTS[name].response)
    assert (reply.status in (200, 201), list(find_extra(value))) == (True, [])


def find_extra(value: object) -> Iterator[str]:
    """Yield what a decoded value has in ``extra``, at every depth."""
    if isinstance(value, Model):
        yield from value.extra
        for field in attrs.fields(type(value)):
            yield from find_extra(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in cast("tuple[object, ...]", value):
            yield from find_extra(item)
