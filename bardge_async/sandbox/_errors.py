"""What the sandbox refuses, as the documented error object (page: Errors)."""

from __future__ import annotations

from typing import Final

INVALID: Final = "invalid_request_error"
VALIDATION: Final = "validation_error"
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 409: "resource_conflict_error"}


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault of the sandbox
    """Carry the error object of an answer; whatever the request did so far is undone."""

    def __init__(self, status: int, type: str, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.message = message


def invalid(field: str, problem: str) -> Refusal:
    """Refuse a field or parameter by name: 400 ``validation_error``."""
    return Refusal(400, INVALID, VALIDATION, f"{field}: {problem}")


def not_found(kind: str, id: str, code: str = "resource_not_found") -> Refusal:
    """Refuse an id that names nothing: 404 (the type is shown by the page's example)."""
    return Refusal(404, INVALID, code, f"No {kind} exists with id {id}.")


def pass_not_found(message: str) -> Refusal:
    """Refuse for want of a pass: 404 ``pass_not_found``."""
    return Refusal(404, INVALID, "pass_not_found", message)


def no_route(method: str, path: str) -> Refusal:
    """Refuse a method and path that no row has: 404."""
    return Refusal(404, INVALID, "resource_not_found", f"No endpoint answers {method} {path}.")


def conflict(code: str, message: str) -> Refusal:
    """Refuse by the state of a resource: 409."""
    return Refusal(409, "resource_conflict_error", code, message)


def key_reused() -> Refusal:
    """Refuse a key that was seen with another body: 409."""
    message = "This Idempotency-Key was used with another request body."
    return Refusal(409, "idempotency_error", "idempotency_key_reused", message)


def wrong_key() -> Refusal:
    """Refuse an API key that nobody has: 401."""
    return Refusal(401, "authentication_error", "invalid_api_key", "Invalid API key provided")


def disabled() -> Refusal:
    """Refuse a reseller whose account is switched off: 403."""
    return Refusal(403, "permission_error", "account_disabled", "Reseller account is not enabled")


def forbidden(message: str) -> Refusal:
    """Refuse what this reseller may not do: 403."""
    return Refusal(403, "permission_error", "permission_denied", message)


def failed() -> Refusal:
    """Answer for a fault of the sandbox itself: 500."""
    return Refusal(500, "api_error", None, "The sandbox failed; its log says how.")


def failing(status: int) -> Refusal:
    """Answer with a status because a fault says so, in the type that fits it; no code is documented for these."""
    kind = _TYPES.get(status, INVALID if 400 <= status < 500 and status != 429 else "api_error")  # noqa: PLR2004
    return Refusal(status, kind, None, f"A fault of the sandbox: status {status}.")
