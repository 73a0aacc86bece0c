"""The OpenAPI document says what the table and the models say, no more and no less."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import json
import typing
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from bardge_async import ENDPOINTS, BardgeError, KeySupport
from bardge_async import models as m
from bardge_async._core.converter import dump_body, structure_value
from bardge_async._core.scalars import StructureError
from bardge_async.cli._commands import bardge
from bardge_async.openapi import _facts, document
from bardge_async.openapi._answers import operation_id
from bardge_async.openapi._schemas import page_name
from tests.contract.examples import EXAMPLES
from tests.contract.rows import NAMES
from tests.support.fields import list_field_names

DOCUMENT: Final = document()
SCHEMAS: Final = DOCUMENT["components"]["schemas"]
ABSTRACT: Final = {m.Model, m.Body, m.Resource, m.Page}
CLASSES: Final[list[type[Any]]] = [
    cls
    for name in m.__all__
    if isinstance(cls := getattr(m, name), type) and issubclass(cls, m.Model) and cls not in ABSTRACT
]
BODIES: Final = [cls for cls in CLASSES if issubclass(cls, m.Body)]
ANSWERS: Final = [cls for cls in CLASSES if issubclass(cls, m.Resource)]
SAMPLES: Final[tuple[Any, ...]] = ("word", "2026-12-31", 5, 2.5, True, [], ["word"], [5], {}, [{}])

by_name = pytest.mark.parametrize("name", NAMES)
by_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
by_body = pytest.mark.parametrize("cls", BODIES, ids=lambda cls: cls.__name__)
by_answer = pytest.mark.parametrize("cls", ANSWERS, ids=lambda cls: cls.__name__)


def get_operation(name: str) -> dict[str, Any]:
    row = ENDPOINTS[name]
    return typing.cast("dict[str, Any]", DOCUMENT["paths"][row.path][row.method.lower()])


def is_valid(schema: dict[str, Any], value: object) -> bool:
    whole = {**schema, "components": DOCUMENT["components"]}
    return bool(OAS31Validator(whole, format_checker=oas31_format_checker).is_valid(value))


def spell_value(value: Any) -> Iterator[Any]:
    """Yield the ways to give a JSON value in Python."""
    yield tuple(typing.cast("list[object]", value)) if isinstance(value, list) else value
    if isinstance(value, str) and value == "2026-12-31":
        yield dt.date.fromisoformat(value)


def make_or_none(cls: type[Any], values: dict[str, Any]) -> Any:
    """Make a request if the class accepts these JSON values, in any spelling."""
    for given in itertools.product(*(spell_value(value) for value in values.values())):
        try:
            return cls(**dict(zip(values, given, strict=True)))
        except (BardgeError, TypeError):
            continue
    return None


@functools.cache
def make_sample(cls: str, name: str) -> Any:
    """Return a JSON value that the field's schema accepts."""
    return next(value for value in SAMPLES if is_valid(SCHEMAS[cls]["properties"][name], value))


def test_document_is_valid() -> None:
    """An independent validator finds no fault."""
    validate(DOCUMENT)


def test_document_is_plain_json() -> None:
    """The document survives a round trip through JSON."""
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_every_class_has_a_schema_and_no_other() -> None:
    """The schemas are the classes and one page for each class of items."""
    pages = {page_name(row.item) for row in ENDPOINTS.values() if row.item}
    assert set(SCHEMAS) == {cls.__name__ for cls in CLASSES} | pages


@by_class
def test_fields_are_properties(cls: type[Any]) -> None:
    """Every field of a class is a property of its schema, and no other, in the same order."""
    assert list(SCHEMAS[cls.__name__]["properties"]) == list_field_names(cls)


@by_class
def test_marks_of_classes(cls: type[Any]) -> None:
    """A schema has the class's mark and the vendor's name."""
    schema = SCHEMAS[cls.__name__]
    assert (schema["x-bardge-mark"], schema.get("x-bardge-schema")) == (cls.mark.value, cls.schema)


@by_answer
def test_marks_of_fields(cls: type[Any]) -> None:
    """A property has the mark of its field."""
    hints = typing.get_type_hints(cls, include_extras=True)
    marks = {name: schema["x-bardge-mark"] for name, schema in SCHEMAS[cls.__name__]["properties"].items()}
    assert marks == {name: hints[name].__metadata__[0].value for name in list_field_names(cls)}


@by_answer
def test_answers_are_read_as_the_schema_says(cls: type[Any]) -> None:
    """A value is valid for a property exactly if the library reads it into the attribute."""
    for name, value in itertools.product(list_field_names(cls), SAMPLES):
        schema = SCHEMAS[cls.__name__]["properties"][name]
        if schema.get("format") == "int64" and value == 2.5:
            continue  # the library also reads fractions of an instant, should they ever occur
        if (cls, value) == (m.ErrorResponse, {}):
            continue  # every error has its four fields; the library also reads one that lacks some
        try:
            taken = not structure_value({name: value}, json.dumps({name: value}).encode(), cls).extra
        except StructureError:
            taken = False
        assert is_valid(schema, value) is taken, (name, value)


@by_body
def test_requests_are_taken_as_the_schema_says(cls: type[Any]) -> None:
    """A value is valid for a property exactly if the request class accepts it, and is sent as that value."""
    schema = SCHEMAS[cls.__name__]
    for name, value in itertools.product(list_field_names(cls), (*SAMPLES, None)):
        values = {other: make_sample(cls.__name__, other) for other in schema.get("required", ())} | {name: value}
        if cls.__name__ in _facts.NEVER_EMPTY and name in schema.get("required", ()):
            values[_facts.NEVER_EMPTY[cls.__name__][0]] = "x"
        request = make_or_none(cls, values)
        assert is_valid(schema, values) is (request is not None), (name, value)
        assert request is None or json.loads(dump_body(request)) == values


@by_body
def test_groups_of_fields(cls: type[Any]) -> None:
    """A choice of fields, or of nulls, is valid exactly if the class accepts it."""
    schema = SCHEMAS[cls.__name__]
    for count in range(len(list_field_names(cls)) + 1):
        for chosen in itertools.combinations(list_field_names(cls), count):
            values = {name: make_sample(cls.__name__, name) for name in chosen}
            assert is_valid(schema, values) is (make_or_none(cls, values) is not None), values
            nulls = dict.fromkeys(set(list_field_names(cls)) - set(chosen)) | values
            assert is_valid(schema, nulls) is (make_or_none(cls, nulls) is not None), nulls


@by_name
def test_operation_is_the_row(name: str) -> None:
    """An operation has mark, repetition, key and cursor of the table."""
    row, found = ENDPOINTS[name], get_operation(name)
    told = [found.get(f"x-bardge-{word}") for word in ("mark", "again", "key-support", "cursor")]
    key = row.key.value if row.key is not KeySupport.NO else None
    wanted = [row.mark.value, row.repeat_effect and row.repeat_effect.value, key, row.cursor if row.paginated else None]
    assert (found["operationId"], told) == (operation_id(row), wanted)


@by_name
def test_parameters_are_the_rows(name: str) -> None:
    """Path, query, page and header parameters are exactly the endpoint's."""
    row = ENDPOINTS[name]
    wanted = [("path", word) for word in row.path_parameters] + [("query", word) for word in row.query]
    wanted += [("query", word) for word in ("limit", "starting_after", "ending_before") if row.paginated]
    wanted += [("header", "Idempotency-Key")] if row.key is not KeySupport.NO else []
    wanted += [("header", "Bardge-Lookup-Token")] if row.lookup_token else []
    shared = DOCUMENT["components"]["parameters"]
    given = [shared[p["$ref"].rpartition("/")[2]] if "$ref" in p else p for p in get_operation(name)["parameters"]]
    assert [(p["in"], p["name"]) for p in given] == wanted


NOTES = {"page": "", "guide": "From a vendor guide", "inferred": "Inferred: not documented by the vendor."}


@by_name
def test_operation_is_described(name: str) -> None:
    """An operation has a summary, and a description with the mark and the effect of a second execution."""
    row, found = ENDPOINTS[name], get_operation(name)
    assert found["summary"]
    assert not found["summary"].endswith(".")
    assert NOTES[row.mark.value] in found["description"]
    assert ("second execution" in found["description"]) is (row.repeat_effect is not None)


def test_marks_are_visible() -> None:
    """What is not from a page says so in its description: renderers hide ``x-`` fields."""
    marked = [(place, found) for place, found in walk_objects(DOCUMENT) if "x-bardge-mark" in found]
    blind = [
        place
        for place, found in marked
        if "value" not in found and NOTES[found["x-bardge-mark"]] not in found.get("description", "")
    ]
    assert (len(marked) > 300, blind) == (True, [])


@by_name
def test_marks_of_headers(name: str) -> None:
    """Key and lookup token carry marks of their own, and so does paging."""
    row, found = ENDPOINTS[name], get_operation(name)
    shared = DOCUMENT["components"]["parameters"]
    given = [shared[p["$ref"].rpartition("/")[2]] if "$ref" in p else p for p in found["parameters"]]
    marks = {p["name"]: p.get("x-bardge-mark") for p in given}
    wanted = {"Idempotency-Key": row.key_mark, "Bardge-Lookup-Token": row.lookup_token_mark, "limit": row.paging_mark}
    assert {name: marks.get(name) for name in wanted} == {name: mark and mark.value for name, mark in wanted.items()}


def test_tags_are_described() -> None:
    """Every noun has a tag with a description, and no other."""
    tags = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert tags.keys() == {name.partition(".")[0] for name in ENDPOINTS}
    assert all(tags.values())


def test_documented_codes() -> None:
    """All error codes that a page or guide names are among the examples."""
    responses = DOCUMENT["components"]["responses"].values()
    codes = {code for answer in responses for code in answer["content"]["application/json"]["examples"]}
    assert codes == {
        "validation_error",
        "invalid_api_key",
        "account_disabled",
        "permission_denied",
        "resource_not_found",
        "pass_not_found",
        "idempotency_key_reused",
        "slot_unavailable",
        "class_full",
        "api_error",
    }


def test_error_object_is_whole() -> None:
    """Every error has type, code, message and request id."""
    assert set(SCHEMAS["ErrorDetail"]["required"]) == {"type", "code", "message", "request_id"}


def test_unused_schemas() -> None:
    """The schemas that no operation leads to say so."""
    unused = {name for name, found in SCHEMAS.items() if "x-bardge-unused" in found}
    assert {"Passcode", "PasscodeRequest", "UpdateLookupEnabled", "ConfirmAccessCode", "Availability"} <= unused
    assert not {"Booking", "ErrorDetail", "PassPage", "CopayOption", "RefundInfo"} & unused
    assert all("No published endpoint uses it." in SCHEMAS[name]["description"] for name in unused)


def test_no_operations_beyond_the_table() -> None:
    """There is one operation for each endpoint."""
    assert sum(len(methods) for methods in DOCUMENT["paths"].values()) == len(ENDPOINTS)


@by_name
def test_documented_exchange_fits(name: str) -> None:
    """What the contract tests send and receive is valid for the operation's schemas."""
    example, found = EXAMPLES[name], get_operation(name)
    if "requestBody" in found:
        assert is_valid(found["requestBody"]["content"]["application/json"]["schema"], example.sent)
    assert ("requestBody" in found) is (example.sent is not None)
    answers = [answer for status, answer in found["responses"].items() if status.startswith("2")]
    assert all(is_valid(answer["content"]["application/json"]["schema"], example.answer) for answer in answers)


@by_name
def test_statuses(name: str) -> None:
    """Every documented status is there; only requests that change state can conflict."""
    errors = {"400", "401", "403", "404", "500"} | ({"409"} if ENDPOINTS[name].method == "POST" else set[str]())
    found = set(get_operation(name)["responses"])
    assert (found - {"200", "201"}, "200" in found) == (errors, True)


def walk_objects(value: object, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all objects of the document, with their places."""
    if isinstance(value, dict):
        inside = typing.cast("dict[str, Any]", value)
        yield place, inside
        for name, item in inside.items():
            yield from walk_objects(item, f"{place}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(typing.cast("list[object]", value)):
            yield from walk_objects(item, f"{place}/{index}")


def test_enums_stay_open() -> None:
    """No list of values is closed: a new value must not make a response invalid."""
    assert [place for place, found in walk_objects(DOCUMENT) if "enum" in found] == []


def test_examples_fit_their_schemas() -> None:
    """Every example is valid for its schema."""
    for place, found in walk_objects(DOCUMENT):
        for value in found.get("examples", ()) if "type" in found else ():
            assert is_valid({"type": found["type"]}, value), place
        for value in (
            found["examples"].values() if isinstance(found.get("examples"), dict) and "schema" in found else ()
        ):
            assert is_valid(found["schema"], value["value"]), place
        if "example" in found:
            assert is_valid(found["schema"], found["example"]), place


def test_facts_are_about_real_fields() -> None:
    """Facts kept beside the models name existing fields."""
    pages = {"Page": {"data", *list_field_names(m.Page)}}
    real = {cls.__name__: set(list_field_names(cls)) for cls in CLASSES} | pages
    told = {(cls, field) for cls, fields in _facts.EXAMPLES.items() for field in fields}
    told |= {(cls, f) for cls, groups in _facts.EXAMPLE_BODIES.items() for group in groups for f in group}
    told |= {(cls, field) for cls, fields in _facts.NEVER_EMPTY.items() for field in fields}
    assert [place for place in told | _facts.GUIDE_FIELDS if place[1] not in real[place[0]]] == []


def test_units_of_instants_are_told() -> None:
    """Exactly the instants that a page shows have a unit."""
    page = {
        (cls.__name__, name)
        for cls in ANSWERS
        for name, hint in typing.get_type_hints(cls, include_extras=True).items()
        if m.Mark.PAGE in getattr(hint, "__metadata__", ()) and dt.datetime in typing.get_args(typing.get_args(hint)[0])
    }
    told = set(_facts.SECONDS | _facts.MILLISECONDS)
    assert (told, len(_facts.SECONDS & _facts.MILLISECONDS)) == (page, 0)


def test_links_lead_somewhere() -> None:
    """A link passes an existing field of one endpoint's response to a path parameter of another."""
    for source, targets in _facts.LINKS.items():
        row = ENDPOINTS[source]
        for target, (parameter, place) in targets.items():
            assert parameter in ENDPOINTS[target].path_parameters
            assert place.rpartition("/")[2] in list_field_names(row.item or row.response)


def run_openapi_command(*arguments: str) -> str:
    result = CliRunner().invoke(bardge, ["openapi", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_command_writes_json() -> None:
    """``bardge openapi`` writes the document as JSON."""
    assert json.loads(run_openapi_command()) == DOCUMENT


def test_command_writes_yaml() -> None:
    """``bardge openapi --yaml`` writes the same, without anchors."""
    text = run_openapi_command("--yaml")
    assert (yaml.safe_load(text), "&id" in text) == (DOCUMENT, False)


def test_command_names_a_server() -> None:
    """``--server`` replaces the vendor's base URL."""
    assert json.loads(run_openapi_command("--server", "http://127.0.0.1:8765/x"))["servers"] == [
        {"url": "http://127.0.0.1:8765/x"}
    ]


def test_missing_yaml_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyYAML the command names the extra to install."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    result = CliRunner().invoke(bardge, ["openapi", "--yaml"])
    assert (result.exit_code, "bardge-async[cli,yaml]" in result.output) == (1, True)
