"""Hooks for schemathesis: replace generated texts with ids that the sandbox knows, so that more requests succeed.

A value whose type differs from that of the id is left alone: it may be wrong on purpose.
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


def replace_ids(values: Any, ids: dict[str, Any]) -> Any:
    """Replace values that are not empty and have the type of the known id."""
    if not isinstance(values, dict):
        return values
    given = cast("dict[str, object]", values)
    return {name: ids[name] if _is_replaceable(value, ids.get(name)) else value for name, value in given.items()}


def _is_replaceable(value: object, id: object) -> bool:
    return bool(value) and type(value) is type(id)


def map_body(context: Any, body: Any) -> Any:
    """Return the body with ids that exist."""
    path = context.operation.path
    # Different days and hours, so that not all bodies ask for the same slot.
    number = len(json.dumps(body, default=str))
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1 + number % 50)
    slot = {"date": day.isoformat(), "time": f"{9 + number % 8:02d}:00"} if path == "/bookings/spa" else {}
    return replace_ids(body, BODIES.get(path, {}) | slot)


def map_path_parameters(_: Any, path_parameters: Any) -> Any:
    """Return the path parameters with ids that exist."""
    return replace_ids(path_parameters, PATHS)


_tool: Any = importlib.import_module("schemathesis")
_tool.hook(map_body)
_tool.hook(map_path_parameters)
