"""What the sandbox refuses, as the documented error object (page: Errors)."""

from __future__ import annotations

from typing import Final

INVALID_REQUEST: Final = "invalid_request_error"
VALIDATION_CODE: Final = "validation_error"
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 409: "resource_conflict_error"}


class ErrorAnswer(Exception):  # noqa: N818 - it is an answer, not a fault of the sandbox
    """Carry the error object of an answer; whatever the request did so far is undone."""

    def __init__(self, status: int, type: str, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.message = message


def validation_error(field: str, problem: str) -> ErrorAnswer:
    """Refuse a field or parameter by name: 400 ``validation_error``."""
    return ErrorAnswer(400, INVALID_REQUEST, VALIDATION_CODE, f"{field}: {problem}")


def not_found_error(kind: str, id: str, code: str = "resource_not_found") -> ErrorAnswer:
    """Refuse an id that names nothing: 404 (the type is shown by the page's example)."""
    return ErrorAnswer(404, INVALID_REQUEST, code, f"No {kind} exists with id {id}.")


def pass_not_found_error(message: str) -> ErrorAnswer:
    """Refuse for want of a pass: 404 ``pass_not_found``."""
    return ErrorAnswer(404, INVALID_REQUEST, "pass_not_found", message)


def no_endpoint_error(method: str, path: str) -> ErrorAnswer:
    """Refuse a method and path that no row has: 404."""
    return ErrorAnswer(404, INVALID_REQUEST, "resource_not_found", f"No endpoint answers {method} {path}.")


def conflict_error(code: str, message: str) -> ErrorAnswer:
    """Refuse by the state of a resource: 409."""
    return ErrorAnswer(409, "resource_conflict_error", code, message)


def key_reused_error() -> ErrorAnswer:
    """Refuse a key that was seen with another body: 409."""
    message = "This Idempotency-Key was used with another request body."
    return ErrorAnswer(409, "idempotency_error", "idempotency_key_reused", message)


def wrong_api_key_error() -> ErrorAnswer:
    """Refuse an API key that nobody has: 401."""
    return ErrorAnswer(401, "authentication_error", "invalid_api_key", "Invalid API key provided")


def account_disabled_error() -> ErrorAnswer:
    """Refuse a reseller whose account is switched off: 403."""
    return ErrorAnswer(403, "permission_error", "account_disabled", "Reseller account is not enabled")


def permission_error(message: str) -> ErrorAnswer:
    """Refuse what this reseller may not do: 403."""
    return ErrorAnswer(403, "permission_error", "permission_denied", message)


def internal_error() -> ErrorAnswer:
    """Answer for a fault of the sandbox itself: 500."""
    return ErrorAnswer(500, "api_error", None, "The sandbox failed; its log says how.")


def injected_error(status: int) -> ErrorAnswer:
    """Answer with a status because a fault says so, in the type that fits it; no code is documented for these."""
    kind = _TYPES.get(status, INVALID_REQUEST if 400 <= status < 500 and status != 429 else "api_error")  # noqa: PLR2004
    return ErrorAnswer(status, kind, None, f"A fault of the sandbox: status {status}.")
