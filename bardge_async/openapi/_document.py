"""The document as a whole: paths and operations from the table, components from the models."""

from __future__ import annotations

from typing import Any, Final

from bardge_async._core.settings import DEFAULT_BASE_URL
from bardge_async._version import __version__
from bardge_async.endpoints import ENDPOINTS, Again, Endpoint, KeySupport
from bardge_async.models import Mark
from bardge_async.openapi._answers import HEADERS, error_responses, operation_id, responses
from bardge_async.openapi._facts import ALTERNATIVES, EXAMPLES, PARAMETER_EXAMPLES
from bardge_async.openapi._schemas import JSON, classes, fields, object_schema, page_name, page_schema, reference

_ABOUT: Final = f"""\
What is known of the Bardge Reseller API V3, written down by bardge-async {__version__}; the vendor has no part in it.

`x-bardge-mark` tells how well a thing is known. `page`: an example or a table on the vendor's own page shows it.
`guide`: a vendor guide names it in prose. `inferred`: nothing shows it, it was chosen by analogy.
`x-bardge-again` tells what a second execution of the same body does: `same` (harmless), `twice` (charges, books or
issues again), `conflict` (the server refuses it). `x-bardge-key-support` is `K` where `Idempotency-Key` is known to be
honoured for 90 seconds, `K?` where it may be sent and nothing shows that it is honoured."""

_AGAIN: Final = {
    Again.SAME: "A second execution sets the same state again: harmless.",
    Again.TWICE: "A second execution charges, books or issues again.",
    Again.CONFLICT: "A second execution is refused by the server's own state.",
}
_KEY_NOTES: Final = {
    KeySupport.YES: "Any unique text. The same key and body within 90 seconds give the cached answer.",
    KeySupport.UNPROVEN: "Any unique text. Nothing shows that the server honours it here.",
}
_PAGE_PARAMETERS: Final[JSON] = {
    "limit": {
        "description": "Items on the page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
    },
    "starting_after": {
        "description": "Id of the item before the first one wanted. Not together with `ending_before`.",
        "schema": {"type": "string"},
    },
    "ending_before": {
        "description": "Id of the item after the last one wanted. Not together with `starting_after`.",
        "schema": {"type": "string"},
    },
}
_DEGREES: Final = {"lat": ("Latitude", 90), "lon": ("Longitude", 180)}


def document(server: str = DEFAULT_BASE_URL) -> JSON:
    """Make the OpenAPI 3.1 document, as plain JSON values.

    Args:
        server: The base URL that the document names.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": "Bardge Reseller API", "version": "3", "description": _ABOUT},
        "servers": [{"url": server}],
        "security": [{"bearer": []}],
        "tags": [{"name": noun} for noun in dict.fromkeys(name.partition(".")[0] for name in ENDPOINTS)],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "parameters": {name: _page_parameter(name) for name in _PAGE_PARAMETERS},
            "headers": HEADERS,
            "responses": error_responses(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "x-bardge-mark": Mark.PAGE.value}},
        },
    }


def _schemas() -> JSON:
    items = [row.item for row in ENDPOINTS.values() if row.item is not None]
    made = {cls.__name__: object_schema(cls) for cls in classes()}
    return dict(sorted((made | {page_name(item): page_schema(item) for item in items}).items()))


def _paths() -> JSON:
    paths: JSON = {}
    for row in ENDPOINTS.values():
        paths.setdefault(row.path, {})[row.method.lower()] = operation(row)
    return paths


def operation(row: Endpoint[Any, Any]) -> JSON:
    """Describe one row."""
    made: JSON = {
        "operationId": operation_id(row),
        "tags": [row.name.partition(".")[0]],
        "summary": row.name,
        "x-bardge-mark": row.mark.value,
    }
    if row.again is not None:
        made["description"] = _AGAIN[row.again]
        made["x-bardge-again"] = row.again.value
    if row.key is not KeySupport.NO:
        made["x-bardge-key-support"] = row.key.value
    if row.paginated:
        made["x-bardge-cursor"] = row.cursor
    made["parameters"] = _parameters(row)
    if row.takes_body:
        made["requestBody"] = {"required": True, "content": {"application/json": _body(row.request)}}
    return made | {"responses": responses(row)}


def _parameters(row: Endpoint[Any, Any]) -> list[JSON]:
    made = [_path_parameter(name) for name in row.path_parameters]
    made += [_place(name, row.mark) for name in row.query]
    if row.paginated:
        made += [{"$ref": f"#/components/parameters/{name}"} for name in _PAGE_PARAMETERS]
    if row.key is not KeySupport.NO:
        mark = Mark.PAGE if row.key is KeySupport.YES else Mark.INFERRED
        made.append(_header("Idempotency-Key", _KEY_NOTES[row.key], mark))
    if row.lookup_token:
        made.append(_header("Bardge-Lookup-Token", "The token of a verified lookup.", Mark.PAGE))
    return made


def _path_parameter(name: str) -> JSON:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema} | _example(name)


def _example(name: str) -> JSON:
    return {"example": PARAMETER_EXAMPLES[name]} if name in PARAMETER_EXAMPLES else {}


def _place(name: str, mark: Mark) -> JSON:
    word, bound = _DEGREES[name]
    return {
        "name": name,
        "in": "query",
        "description": f"{word} in degrees; with both, the nearest come first.",
        "schema": {"type": "number", "format": "double", "minimum": -bound, "maximum": bound},
        "x-bardge-mark": mark.value,
    }


def _header(name: str, description: str, mark: Mark) -> JSON:
    made = {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
    return made | _example(name) | {"x-bardge-mark": mark.value}


def _page_parameter(name: str) -> JSON:
    return {"name": name, "in": "query", **_PAGE_PARAMETERS[name], "x-bardge-mark": Mark.PAGE.value}


def _body(cls: type[Any]) -> JSON:
    return {"schema": reference(cls)} | _body_examples(cls)


def _body_examples(cls: type[Any]) -> JSON:
    """Show the page's values: one body, or one for each alternative."""
    shown = EXAMPLES.get(cls.__name__, {})
    needed = {field.name for field in fields(cls) if field.required}
    if not shown or not needed <= shown.keys():
        return {}
    groups = ALTERNATIVES.get(cls.__name__, (tuple(shown),))
    return {"examples": {"_".join(group): {"value": {name: shown[name] for name in group}} for group in groups}}
