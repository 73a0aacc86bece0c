"""What the vendor's pages show besides names and types: example values, timestamp units, error codes.

Nothing here is made up: a field for which no page or guide shows a value has no example in the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bardge_async.models import Mark

_PASS_TIMES: Final = {"created": 1746700000000, "start_date": 1746700000000, "expires_at": 1777636800000}
_SLOT: Final = {"date": "2026-05-20", "time": "07:00", "scheduled_for": 1747724400, "created": 1747700000}
_CLIENT: Final = {"client_id": "client_abc123"}

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Pass": {
        "object": "pass",
        "id": "pass_abc123",
        "price": 1500000,
        "currency": "NGN",
        "duration": "monthly",
        "livemode": True,
        "created": 1746700000000,
        "payment_model": "SUBSCRIPTION",
        "provider_count": 42,
    },
    "CategoryDetail": {
        "type": "SPA",
        "tiers": ["STANDARD", "PREMIUM"],
        "duration": "monthly",
        "credit_allocated": 20,
        "visits_allowed": 4,
    },
    "IssuedPass": {
        "object": "issued_pass",
        "id": "brgpass_abc123",
        "passcode": "ABC12345",
        "status": "ACTIVE",
        "transaction_id": "txn_abc123",
        "tx_ref": "FLW-TXN-ABCDEFGH",
        **_PASS_TIMES,
    },
    "CategoryDetails": {"duration": "MONTHLY"},
    "UpdateIssuedPassExpiry": {"expiry_date": "2026-12-31"},
    "IssuedPassMessage": {"object": "issued_pass", "message": "Pass expiry updated successfully"},
    "BookClass": {"class_instance_id": "ci_abc123", **_CLIENT, "user_pass_id": "brgpass_abc123"},
    "ClassBookingInitiation": {
        "object": "class_booking_initiation",
        "status": "PENDING",
        "visits_deducted": 1,
        **_SLOT,
    },
    "ConfirmClassBooking": {"copay_package_id": "copay_abc123", "number_of_visits": 5, "duration": "ANNUALLY"},
    "Booking": {"object": "booking", "id": "booking_2a4f8e1b3c5d9f7a", "status": "PENDING"},
    "ClientCredits": {"balance": 25, "currency": "NGN"},
    "CreditTransaction": {"type": "DEBIT"},
    "CreditPackage": {"name": "50 Credits Pack"},
    "Lookup": {"lookup_token": "lkpt_abc123"},
    "ErrorDetail": {
        "type": "invalid_request_error",
        "code": "pass_not_found",
        "message": "No pass exists with id pass_01H8XYZ.",
        "request_id": "req_01H8XYZABCDE",
    },
    "Page": {
        "object": "list",
        "has_more": True,
        "url": "/v3/api/business/reseller/passes",
        "message": "Passes retrieved successfully",
    },
}
"""Example values by class and field, each as a page shows it."""

PARAMETER_EXAMPLES: Final[Mapping[str, str]] = {
    **_CLIENT,
    "pass_id": "pass_abc123",
    "session_id": "sess_abc123def456",
    "booking_id": "booking_2a4f8e1b3c5d9f7a",
    "Bardge-Lookup-Token": "lkpt_abc123",
}
"""Example values of parameters, by name.

The page's example of an ``Idempotency-Key`` is left out: tools send examples verbatim, and to the server two operations
with the same body and key are one.
"""

SECONDS: Final = frozenset(
    (name, field) for name in ("Booking", "ClassBookingInitiation") for field in ("scheduled_for", "created")
)
"""Timestamps that a page shows in seconds since the epoch."""

MILLISECONDS: Final = frozenset(
    {("Pass", "created"), ("CreditTransaction", "timestamp"), *(("IssuedPass", field) for field in _PASS_TIMES)}
)
"""Timestamps that a page shows in milliseconds since the epoch."""

NEVER_EMPTY: Final[Mapping[str, tuple[str, ...]]] = {
    "ConfirmClassBooking": ("copay_package_id", "number_of_visits", "duration"),
    "ConfirmAccessCode": ("copay_package_id", "number_of_visits", "duration"),
    "PurchaseCopayPackage": ("copay_package_id", "quote_id"),
}
"""Request classes with optional fields of which at least one is set."""

EXAMPLE_BODIES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "ConfirmClassBooking": (
        ("copay_package_id", "number_of_visits", "duration"),
        ("copay_package_id",),
        ("number_of_visits", "duration"),
    ),
}
"""The fields of each example, where one class has several; the page's own example is the first."""

GUIDE_FIELDS: Final = frozenset({("PurchaseCopayPackage", "copay_package_id"), ("PurchaseCopayPackage", "quote_id")})
"""Optional fields that a guide names."""

LINKS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "passes.list": {"providers.list_for_pass": ("pass_id", "/data/0/id")},
    "providers.list": {"copay.list_gym_options": ("provider_branch_id", "/data/0/id")},
    "classes.list": {"classes.get": ("class_id", "/data/0/id")},
    "passes.issue": {"passes.get_issued": ("client_id", "/client_id")},
    "bookings.initiate_class": {
        "bookings.confirm_class": ("session_id", "/session_id"),
        "bookings.get_status": ("booking_id", "/booking_id"),
        "bookings.cancel": ("booking_id", "/booking_id"),
    },
    "bookings.initiate_spa": {"bookings.confirm_spa": ("session_id", "/session_id")},
    "bookings.confirm_spa": {
        "bookings.get_status": ("booking_id", "/id"),
        "bookings.cancel": ("booking_id", "/id"),
        "bookings.reschedule": ("booking_id", "/id"),
    },
    "lookups.initiate": {"lookups.verify": ("lookup_id", "/id")},
}
"""Which response contains a path parameter of which other endpoint.

By endpoint: the other endpoint, its parameter, and the JSON pointer into the response body.
"""

_NOT_SHOWN: Final = "(not shown by the vendor)"


def _example_error(type: str, code: str = _NOT_SHOWN, message: str = _NOT_SHOWN) -> Mapping[str, str]:
    """Return an error object with all of its four fields, which every error has (page: Errors)."""
    request_id: str = EXAMPLES["ErrorDetail"]["request_id"]
    return {"type": type, "code": code, "message": message, "request_id": request_id}


_INVALID: Final = "invalid_request_error"
_DENIED: Final = "permission_error"
_CONFLICT: Final = "resource_conflict_error"
ERRORS: Final[Mapping[int, tuple[str, Mapping[str, Mapping[str, str]]]]] = {
    400: (
        "The request is invalid; a booking with an insufficient credit balance is a validation error too.",
        {"validation_error": _example_error(_INVALID, "validation_error")},
    ),
    401: (
        "The API key is wrong.",
        {"invalid_api_key": _example_error("authentication_error", "invalid_api_key", "Invalid API key provided")},
    ),
    403: (
        "The account is not permitted to do this.",
        {
            "account_disabled": _example_error(_DENIED, "account_disabled", "Reseller account is not enabled"),
            "permission_denied": _example_error(_DENIED, "permission_denied"),
        },
    ),
    404: (
        "No object has this id.",
        {
            "pass_not_found": dict(EXAMPLES["ErrorDetail"]),
            "resource_not_found": _example_error(_NOT_SHOWN, "resource_not_found"),
        },
    ),
    409: (
        "The key was used with another body, or the state of a resource does not allow the request.",
        {
            "idempotency_key_reused": _example_error("idempotency_error", "idempotency_key_reused"),
            "slot_unavailable": _example_error(_CONFLICT, "slot_unavailable"),
            "class_full": _example_error(_CONFLICT, "class_full"),
        },
    ),
    500: ("The server failed.", {"api_error": _example_error("api_error")}),
}
"""By status: its meaning, and the documented errors by code. The vendor's table of codes is truncated: more exist."""

CODE_MARKS: Final[Mapping[str, Mark]] = {"permission_denied": Mark.GUIDE}
"""The marks of codes that no page shows."""

ALWAYS_SENT: Final = frozenset(("ErrorDetail", name) for name in ("type", "code", "message", "request_id"))
"""Response fields without which no response comes (page: Errors); the client reads one that lacks them all the same."""
