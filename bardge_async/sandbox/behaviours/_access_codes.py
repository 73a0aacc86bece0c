"""Access codes: one for each visit, dead at the end of the day in Lagos (guide: Access Codes)."""

from __future__ import annotations

import secrets

from bardge_async.sandbox._errors import invalid
from bardge_async.sandbox._formats import day_of, end_of_day
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._clients import visitor
from bardge_async.sandbox.behaviours._entitlements import (
    Held,
    change_copay_visits,
    copay_with_visits,
    require_pass,
    use_visit,
)
from bardge_async.sandbox.behaviours._providers import provider_named


def generate_access_code(call: Call) -> JSON:
    """Answer ``access_codes.generate``.

    The sandbox's choice: no endpoint tells of a check-in, so the visit is taken when its code is made. Without a
    provider the code is for a visit of any category that is left.
    """
    client, provider_id = visitor(call), call.fields.text_if_given("provider_id")
    provider = None if provider_id is None else provider_named(call, provider_id)
    held = require_pass(call, client)
    if provider is None:
        _take_any_visit(call, held)
    else:
        _take_visit(call, held, client, provider)
    return _code(call, client, provider)


def _take_any_visit(call: Call, held: Held) -> None:
    left = (g for g in held.categories if g["visits_allowed"] is None or g["visits_used"] < g["visits_allowed"])
    use_visit(call, held.row["seq"], next((g["type"] for g in left), "GYM"))


def _take_visit(call: Call, held: Held, client: Row, provider: Row) -> None:
    if held.grant_for(provider) is not None:
        use_visit(call, held.row["seq"], provider["category"])
        return
    copay = copay_with_visits(call, client, provider["seq"])
    if copay is None:
        raise invalid("provider_id", "the client's pass does not cover this provider")
    change_copay_visits(call, copay, -1)


def _code(call: Call, client: Row, provider: Row | None) -> JSON:
    code, expires_at = secrets.token_urlsafe(24), end_of_day(day_of(call.now))
    place = None if provider is None else provider["seq"]
    call.store.insert(
        "access_codes", {"code": code, "client": client["seq"], "provider": place, "expires_at": expires_at}
    )
    return {
        "object": "access_code",
        "access_code": code,
        "qr_code": _qr(code),
        "expires_at": expires_at,
        "client_id": client["id"],
        "message": "Access code generated successfully",
    }


def _qr(code: str) -> str:
    import segno  # noqa: PLC0415 - only who makes codes needs the extra

    return segno.make(code, micro=False).png_data_uri(scale=4)
