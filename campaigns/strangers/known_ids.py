"""Hooks for schemathesis: put ids that the sandbox knows in the place of made-up texts, so that requests get far.

A value of another type than the id is left alone: it may be wrong on purpose.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
from typing import Any, Final, cast

CLIENT: Final = {"client_id": "client_abc123", "user_pass_id": "brgpass_abc123"}
GYM: Final = {**CLIENT, "provider_id": "prov_gym_premium", "copay_package_id": "copay_abc123"}
BODIES: Final[dict[str, dict[str, Any]]] = {
    "/issued_passes": {"client_id": "client_new", "pass_id": "pass_abc123"},
    "/issued_passes/update": CLIENT,
    "/access-codes": {**CLIENT, "provider_id": "prov_gym_standard"},
    "/bookings/class": {**CLIENT, "class_instance_id": "ci_premium"},
    "/bookings/class/{session_id}/confirm": GYM,
    "/bookings/spa": {**CLIENT, "provider_id": "prov_spa_standard", "service_ids": ["svc_spa_standard_1"]},
    "/providers/{provider_id}/spa-copay-quote": {**CLIENT, "service_ids": ["svc_spa_premium_1"]},
    "/gym_copay_purchases": GYM,
    "/copay_purchases": GYM,
    "/credit_purchases": {**CLIENT, "package_id": "cpkg_50"},
    "/lookups": {"issuer_id": "iss_zuma_bank", "client_id": "client_lookup"},
}
PATHS: Final = {"provider_id": "prov_spa_premium", "provider_branch_id": "prov_gym_premium"}


def known(values: Any, ids: dict[str, Any]) -> Any:
    """Replace what is of the same type as the known value and not empty."""
    if not isinstance(values, dict):
        return values
    given = cast("dict[str, object]", values)
    return {name: ids[name] if _like(value, ids.get(name)) else value for name, value in given.items()}


def _like(value: object, id: object) -> bool:
    return bool(value) and type(value) is type(id)


def map_body(context: Any, body: Any) -> Any:
    """Make a body that names what exists."""
    path = context.operation.path
    # A day and hour of its own for each body, so that not all want the same slot.
    number = len(json.dumps(body, default=str))
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1 + number % 50)
    slot = {"date": day.isoformat(), "time": f"{9 + number % 8:02d}:00"} if path == "/bookings/spa" else {}
    return known(body, BODIES.get(path, {}) | slot)


def map_path_parameters(_: Any, path_parameters: Any) -> Any:
    """Make a path that names what exists."""
    return known(path_parameters, PATHS)


_tool: Any = importlib.import_module("schemathesis")
_tool.hook(map_body)
_tool.hook(map_path_parameters)
