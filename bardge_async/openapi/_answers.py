"""Responses of all endpoints: success, the documented error statuses, headers."""

from __future__ import annotations

from typing import Any, Final

from bardge_async.endpoints import ENDPOINTS, Endpoint
from bardge_async.models import ErrorResponse
from bardge_async.openapi._facts import CODE_MARKS, ERRORS, EXAMPLES, LINKS
from bardge_async.openapi._schemas import JSON, page_name, schema_reference

HEADERS: Final[JSON] = {
    "Bardge-Request-Id": {
        "description": "The vendor's support asks for it.",
        "required": True,
        "schema": {"type": "string"},
        "x-bardge-mark": "page",
    },
    "X-Idempotent-Replayed": {
        "description": "`true` if this is the cached response to an earlier request with the same key.",
        "required": False,
        "schema": {"type": "string", "const": "true"},
        "x-bardge-mark": "page",
    },
}
_NAMES: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    500: "ServerError",
}
_CONFLICT: Final = 409
_SHOWN_WHOLE: Final = "passes.update_expiry"


def build_responses(endpoint: Endpoint[Any, Any]) -> JSON:
    """Build an endpoint's responses by status."""
    # A GET has neither a key nor a state that could conflict.
    statuses = [status for status in ERRORS if status != _CONFLICT or endpoint.method != "GET"]
    errors = {str(status): {"$ref": f"#/components/responses/{_NAMES[status]}"} for status in statuses}
    return {str(status): _success_response(endpoint) for status in _success_statuses(endpoint)} | errors


def _success_statuses(endpoint: Endpoint[Any, Any]) -> tuple[int, ...]:
    # The pages say "200 or 201", and show which of them for a single endpoint only.
    return (200,) if endpoint.method == "GET" or endpoint.name == _SHOWN_WHOLE else (200, 201)


def _success_response(endpoint: Endpoint[Any, Any]) -> JSON:
    made: JSON = {
        "description": "Done; it is not shown which of 200 and 201 is returned."
        if len(_success_statuses(endpoint)) > 1
        else "Done.",
        "headers": _header_references(replayed=endpoint.takes_key),
        "content": {"application/json": {"schema": response_schema(endpoint)} | _response_example(endpoint)},
    }
    links = {name: _build_link(name, *where) for name, where in LINKS.get(endpoint.name, {}).items()}
    return made | ({"links": links} if links else {})


def _response_example(endpoint: Endpoint[Any, Any]) -> JSON:
    """Return the example of the one response that a page shows in full."""
    return {"example": dict(EXAMPLES[endpoint.response.__name__])} if endpoint.name == _SHOWN_WHOLE else {}


def response_schema(endpoint: Endpoint[Any, Any]) -> JSON:
    """Build a reference to the schema of an endpoint's response."""
    if endpoint.item is None:
        return schema_reference(endpoint.response)
    page = {"$ref": f"#/components/schemas/{page_name(endpoint.item)}"}
    return (
        {"oneOf": [page, {"type": "array", "items": schema_reference(endpoint.item)}]} if endpoint.bare_list else page
    )


def _header_references(*, replayed: bool) -> JSON:
    names = [name for name in HEADERS if replayed or name != "X-Idempotent-Replayed"]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _build_link(name: str, parameter: str, pointer: str) -> JSON:
    target = ENDPOINTS[name]
    return {"operationId": operation_id(target), "parameters": {f"path.{parameter}": f"$response.body#{pointer}"}}


def operation_id(endpoint: Endpoint[Any, Any]) -> str:
    """Turn an endpoint's name into an identifier, as client generators require."""
    return endpoint.name.replace(".", "_")


def error_responses() -> JSON:
    """Build the shared error responses by name."""
    return {_NAMES[status]: _error_response(*ERRORS[status]) for status in ERRORS}


def _error_response(description: str, codes: Any) -> JSON:  # noqa: ANN401 - a table of facts
    examples = {
        code: {
            "value": {"error": dict(detail)},
            "x-bardge-mark": CODE_MARKS[code].value if code in CODE_MARKS else "page",
        }
        for code, detail in codes.items()
    }
    content = {"schema": schema_reference(ErrorResponse), "examples": examples}
    # All endpoints share these responses, so they name the replay header for those that take a key.
    return {
        "description": description,
        "headers": _header_references(replayed=True),
        "content": {"application/json": content},
        "x-bardge-mark": "page",
    }
