"""The sandbox's error answers, as the documented error object (page: Errors)."""

from __future__ import annotations

from typing import Final

INVALID_REQUEST: Final = "invalid_request_error"
VALIDATION_CODE: Final = "validation_error"
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 409: "resource_conflict_error"}


class ErrorAnswer(Exception):  # noqa: N818 - an answer, not a failure of the sandbox
    """Carry an error object to the response; whatever the request changed so far is rolled back."""

    def __init__(self, status: int, type: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.message = message


def validation_error(field: str, problem: str) -> ErrorAnswer:
    """Return a 400 ``validation_error`` for a field or parameter."""
    return ErrorAnswer(400, INVALID_REQUEST, VALIDATION_CODE, f"{field}: {problem}")


def not_found_error(kind: str, id: str, code: str = "resource_not_found") -> ErrorAnswer:
    """Return a 404 for an unknown id (type as in the page's example)."""
    return ErrorAnswer(404, INVALID_REQUEST, code, f"No {kind} exists with id {id}.")


def pass_not_found_error(message: str) -> ErrorAnswer:
    """Return a 404 ``pass_not_found``."""
    return ErrorAnswer(404, INVALID_REQUEST, "pass_not_found", message)


def no_endpoint_error(method: str, path: str) -> ErrorAnswer:
    """Return a 404 for a method and path that no endpoint has."""
    return ErrorAnswer(404, INVALID_REQUEST, "resource_not_found", f"No endpoint answers {method} {path}.")


def conflict_error(code: str, message: str) -> ErrorAnswer:
    """Return a 409 for a request that conflicts with a resource's state."""
    return ErrorAnswer(409, "resource_conflict_error", code, message)


def key_reused_error() -> ErrorAnswer:
    """Return a 409 for an idempotency key that was used with another body."""
    message = "This Idempotency-Key was used with another request body."
    return ErrorAnswer(409, "idempotency_error", "idempotency_key_reused", message)


def wrong_api_key_error() -> ErrorAnswer:
    """Return a 401 for an unknown API key."""
    return ErrorAnswer(401, "authentication_error", "invalid_api_key", "Invalid API key provided")


def account_disabled_error() -> ErrorAnswer:
    """Return a 403 for a disabled reseller account."""
    return ErrorAnswer(403, "permission_error", "account_disabled", "Reseller account is not enabled")


def permission_error(message: str) -> ErrorAnswer:
    """Return a 403 for what this reseller may not do."""
    return ErrorAnswer(403, "permission_error", "permission_denied", message)


def unreadable_error(reason: str, status: int = 400) -> ErrorAnswer:
    """Return an error for a request that breaks HTTP's own rules."""
    return ErrorAnswer(status, INVALID_REQUEST, VALIDATION_CODE, f"The request cannot be read: {reason}")


def storage_error(reason: str) -> ErrorAnswer:
    """Return a 500 for a state file that cannot be used."""
    return ErrorAnswer(500, "api_error", "internal_error", f"The sandbox cannot keep its state: {reason}")


def internal_error() -> ErrorAnswer:
    """Return a 500 for a failure of the sandbox itself."""
    return ErrorAnswer(500, "api_error", "internal_error", "The sandbox failed; see its log for the traceback.")


def injected_error(status: int) -> ErrorAnswer:
    """Return an injected fault's status with the error type that fits; the code is the sandbox's own."""
    kind = _TYPES.get(status, INVALID_REQUEST if 400 <= status < 500 and status != 429 else "api_error")  # noqa: PLR2004
    return ErrorAnswer(status, kind, "injected_fault", f"Injected fault: status {status}.")
