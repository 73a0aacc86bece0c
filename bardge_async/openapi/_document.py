"""The whole document: paths and operations from the endpoint table, components from the models."""

from __future__ import annotations

from typing import Any, Final

from bardge_async._core.settings import DEFAULT_BASE_URL
from bardge_async._version import __version__
from bardge_async.endpoints import ENDPOINTS, Endpoint, KeySupport
from bardge_async.models import ErrorResponse, Mark
from bardge_async.openapi._answers import HEADERS, build_responses, error_responses, operation_id, response_schema
from bardge_async.openapi._facts import EXAMPLE_BODIES, EXAMPLES, PARAMETER_EXAMPLES
from bardge_async.openapi._schemas import (
    JSON,
    find_references,
    list_classes,
    object_schema,
    page_name,
    page_schema,
    read_fields,
    schema_reference,
)
from bardge_async.openapi._texts import TAGS, add_mark, describe, summarize

_DESCRIPTION: Final = f"""\
What is known about the Bardge Reseller API V3, compiled by bardge-async {__version__}; this is not a vendor document.

`x-bardge-mark` is the source of a fact. `page`: an example or a table on the vendor's own page shows it.
`guide`: a vendor guide names it in prose. `inferred`: nothing shows it, it was chosen by analogy.
`x-bardge-again` is the effect of executing the same body a second time: `same` (harmless), `twice` (charges, books or
issues again), `conflict` (the server refuses it). `x-bardge-key-support` is `K` where `Idempotency-Key` is known to be
honoured for 90 seconds, `K?` where it may be sent and nothing shows that it is honoured."""

_KEY_NOTES: Final = {
    KeySupport.YES: "Any unique string. The same key and body within 90 seconds return the cached response.",
    KeySupport.UNPROVEN: "Any unique string. Nothing shows that the server honours it here.",
}
_PAGE_PARAMETERS: Final[JSON] = {
    "limit": {
        "description": "Items on the page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
    },
    "starting_after": {
        "description": "Id of the item before the first one to return. Not together with `ending_before`.",
        "schema": {"type": "string"},
    },
    "ending_before": {
        "description": "Id of the item after the last one to return. Not together with `starting_after`.",
        "schema": {"type": "string"},
    },
}
_DEGREES: Final = {"lat": ("Latitude", 90), "lon": ("Longitude", 180)}


def document(server: str = DEFAULT_BASE_URL) -> JSON:
    """Build the OpenAPI 3.1 document, as plain JSON values.

    Args:
        server: The base URL to put into the document.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bardge Reseller API",
            "version": "3",
            "description": _DESCRIPTION,
            # Of this document, which describes the vendor's API in our words.
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": server}],
        "security": [{"bearer": []}],
        "tags": [{"name": noun, "description": TAGS[noun]} for noun in _list_nouns()],
        "paths": _build_paths(),
        "components": {
            "schemas": _build_schemas(),
            "parameters": {
                _paging_reference(name, mark): _page_parameter(name, mark)
                for mark in (Mark.PAGE, Mark.INFERRED)
                for name in _PAGE_PARAMETERS
            },
            "headers": HEADERS,
            "responses": error_responses(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "x-bardge-mark": Mark.PAGE.value}},
        },
    }


def _list_nouns() -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in ENDPOINTS))


def _build_schemas() -> JSON:
    items = [endpoint.item for endpoint in ENDPOINTS.values() if endpoint.item is not None]
    made = {cls.__name__: object_schema(cls) for cls in list_classes()}
    made |= {page_name(item): page_schema(item) for item in items}
    _mark_unused(made)
    return dict(sorted(made.items()))


def _mark_unused(schemas: JSON) -> None:
    """Say of the schemas that no operation leads to that they are of use for paths without an endpoint only."""
    responses = [response_schema(endpoint) for endpoint in ENDPOINTS.values()]
    requests = [schema_reference(endpoint.request) for endpoint in ENDPOINTS.values() if endpoint.takes_body]
    used: set[str] = set()
    waiting = find_references([*responses, *requests, schema_reference(ErrorResponse)])
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting |= find_references(schemas[name])
    for name in schemas.keys() - used:
        schemas[name]["description"] += " No published endpoint uses it."
        schemas[name]["x-bardge-unused"] = True


def _build_paths() -> JSON:
    paths: JSON = {}
    for endpoint in ENDPOINTS.values():
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = build_operation(endpoint)
    return paths


def build_operation(endpoint: Endpoint[Any, Any]) -> JSON:
    """Describe one endpoint."""
    made: JSON = {
        "operationId": operation_id(endpoint),
        "tags": [endpoint.name.partition(".")[0]],
        "summary": summarize(endpoint),
        "description": describe(endpoint),
        "x-bardge-mark": endpoint.mark.value,
    }
    if endpoint.repeat_effect is not None:
        made["x-bardge-again"] = endpoint.repeat_effect.value
    if endpoint.takes_key:
        made["x-bardge-key-support"] = endpoint.key.value
    if endpoint.paginated:
        made["x-bardge-cursor"] = endpoint.cursor
    made["parameters"] = _build_parameters(endpoint)
    if endpoint.takes_body:
        made["requestBody"] = {"required": True, "content": {"application/json": _body_content(endpoint.request)}}
    return made | {"responses": build_responses(endpoint)}


def _build_parameters(endpoint: Endpoint[Any, Any]) -> list[JSON]:
    made = [_path_parameter(name) for name in endpoint.path_parameters]
    made += [_coordinate_parameter(name, endpoint.mark) for name in endpoint.query]
    if endpoint.paging_mark is not None:
        references = [_paging_reference(name, endpoint.paging_mark) for name in _PAGE_PARAMETERS]
        made += [{"$ref": f"#/components/parameters/{reference}"} for reference in references]
    if endpoint.key_mark is not None:
        made.append(_header_parameter("Idempotency-Key", _KEY_NOTES[endpoint.key], endpoint.key_mark))
    if endpoint.lookup_token_mark is not None:
        text = "The token of a verified lookup."
        made.append(_header_parameter("Bardge-Lookup-Token", text, endpoint.lookup_token_mark))
    return made


def _paging_reference(name: str, mark: Mark) -> str:
    return name if mark is Mark.PAGE else f"{mark.value}_{name}"


def _path_parameter(name: str) -> JSON:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema} | _parameter_example(name)


def _parameter_example(name: str) -> JSON:
    return {"example": PARAMETER_EXAMPLES[name]} if name in PARAMETER_EXAMPLES else {}


def _coordinate_parameter(name: str, mark: Mark) -> JSON:
    word, bound = _DEGREES[name]
    return {
        "name": name,
        "in": "query",
        "description": add_mark(f"{word} in degrees; with both, the nearest come first.", mark),
        "schema": {"type": "number", "format": "double", "minimum": -bound, "maximum": bound},
        "x-bardge-mark": mark.value,
    }


def _header_parameter(name: str, description: str, mark: Mark) -> JSON:
    text = add_mark(description, mark)
    made = {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
    return made | _parameter_example(name) | {"x-bardge-mark": mark.value}


def _page_parameter(name: str, mark: Mark) -> JSON:
    known = _PAGE_PARAMETERS[name]
    text = add_mark(known["description"], mark)
    return {"name": name, "in": "query", **known, "description": text, "x-bardge-mark": mark.value}


def _body_content(cls: type[Any]) -> JSON:
    return {"schema": schema_reference(cls)} | _body_examples(cls)


def _body_examples(cls: type[Any]) -> JSON:
    """Build example bodies from the page's values."""
    shown = EXAMPLES.get(cls.__name__, {})
    needed = {field.name for field in read_fields(cls) if field.required}
    if not shown or not needed <= shown.keys():
        return {}
    groups = EXAMPLE_BODIES.get(cls.__name__, (tuple(shown),))
    return {"examples": {"_".join(group): {"value": {name: shown[name] for name in group}} for group in groups}}
