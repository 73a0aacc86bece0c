"""Access codes: one per visit, expiring at the end of their day (guide: Access Codes).

The guide names no zone for that day: Lagos is the sandbox's choice.
"""

from __future__ import annotations

import secrets

from bardge_async.sandbox._errors import validation_error
from bardge_async.sandbox._formats import end_of_day, lagos_day
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._clients import find_visiting_client
from bardge_async.sandbox.behaviours._entitlements import (
    HeldPass,
    change_copay_visits,
    find_copay,
    require_usable_pass,
    use_visit,
)
from bardge_async.sandbox.behaviours._providers import find_provider


def generate_access_code(request: SandboxRequest) -> JSON:
    """Answer ``access_codes.generate``.

    The client needs a valid active pass (guide: Access Codes). The sandbox's choice: no endpoint reports a check-in, so
    the visit is taken when its code is generated, and ``Sandbox.check_in`` uses the code up. Without a provider the code
    is for any category with visits left.
    """
    client, provider_id = find_visiting_client(request), request.fields.read_optional_str("provider_id")
    provider = None if provider_id is None else find_provider(request, provider_id)
    held = require_usable_pass(request, client)
    if provider is None:
        _take_any_visit(request, held)
    else:
        _take_visit(request, held, client, provider)
    return _create_code(request, client, provider)


def _take_any_visit(request: SandboxRequest, held: HeldPass) -> None:
    usable = (g for g in held.categories if g["visits_allowed"] is None or g["visits_used"] < g["visits_allowed"])
    # If no visit is left, use_visit() raises for any category.
    use_visit(request, held.row["seq"], next((g["type"] for g in usable), "GYM"))


def _take_visit(request: SandboxRequest, held: HeldPass, client: Row, provider: Row) -> None:
    if held.find_category(provider) is not None:
        use_visit(request, held.row["seq"], provider["category"])
        return
    copay = find_copay(request, client, provider["seq"])
    if copay is None:
        raise validation_error("provider_id", "the client's pass does not cover this provider")
    change_copay_visits(request, copay, -1)


def _create_code(request: SandboxRequest, client: Row, provider: Row | None) -> JSON:
    code, expires_at = secrets.token_urlsafe(24), end_of_day(lagos_day(request.now_ms))
    provider_seq = None if provider is None else provider["seq"]
    request.store.insert_row(
        "access_codes", {"code": code, "client": client["seq"], "provider": provider_seq, "expires_at": expires_at}
    )
    return {
        "object": "access_code",
        "access_code": code,
        "qr_code": _qr_data_uri(code),
        "expires_at": expires_at,
        "client_id": client["id"],
        "message": "Access code generated successfully",
    }


def _qr_data_uri(code: str) -> str:
    import segno  # noqa: PLC0415 - an extra, needed for access codes only

    return segno.make(code, micro=False).png_data_uri(scale=4)
