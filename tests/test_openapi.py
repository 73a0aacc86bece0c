"""The OpenAPI document says what the table and the models say, no more and no less."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import json
import typing
from collections.abc import Iterator
from typing import Any, Final

import attrs
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


def operation(name: str) -> dict[str, Any]:
    row = ENDPOINTS[name]
    return typing.cast("dict[str, Any]", DOCUMENT["paths"][row.path][row.method.lower()])


def names(cls: type[Any]) -> list[str]:
    return [field.name for field in attrs.fields(cls) if field.name != "extra"]


def fits(schema: dict[str, Any], value: object) -> bool:
    whole = {**schema, "components": DOCUMENT["components"]}
    return bool(OAS31Validator(whole, format_checker=oas31_format_checker).is_valid(value))


def spellings(value: Any) -> Iterator[Any]:
    """How a JSON value can be given in Python."""
    yield tuple(typing.cast("list[object]", value)) if isinstance(value, list) else value
    if isinstance(value, str) and value == "2026-12-31":
        yield dt.date.fromisoformat(value)


def made(cls: type[Any], values: dict[str, Any]) -> Any:
    """Make a request if the class takes these JSON values, in any spelling."""
    for given in itertools.product(*(spellings(value) for value in values.values())):
        try:
            return cls(**dict(zip(values, given, strict=True)))
        except (BardgeError, TypeError):
            continue
    return None


@functools.cache
def sample(cls: str, name: str) -> Any:
    """A JSON value that the field's schema takes."""
    return next(value for value in SAMPLES if fits(SCHEMAS[cls]["properties"][name], value))


def test_document_is_valid() -> None:
    """A validator that is not ours finds no fault."""
    validate(DOCUMENT)


def test_document_is_plain_json() -> None:
    """The document is the same after a trip through JSON."""
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_every_class_has_a_schema_and_no_other() -> None:
    """Schemas are the classes and one page for each class of items."""
    pages = {page_name(row.item) for row in ENDPOINTS.values() if row.item}
    assert set(SCHEMAS) == {cls.__name__ for cls in CLASSES} | pages


@by_class
def test_fields_are_properties(cls: type[Any]) -> None:
    """Every field of a class is a property of its schema, and no other, in the same order."""
    assert list(SCHEMAS[cls.__name__]["properties"]) == names(cls)


@by_class
def test_marks_of_classes(cls: type[Any]) -> None:
    """A schema bears the class's mark and the vendor's name."""
    schema = SCHEMAS[cls.__name__]
    assert (schema["x-bardge-mark"], schema.get("x-bardge-schema")) == (cls.mark.value, cls.schema)


@by_answer
def test_marks_of_fields(cls: type[Any]) -> None:
    """A property bears the mark of its field."""
    hints = typing.get_type_hints(cls, include_extras=True)
    marks = {name: schema["x-bardge-mark"] for name, schema in SCHEMAS[cls.__name__]["properties"].items()}
    assert marks == {name: hints[name].__metadata__[0].value for name in names(cls)}


@by_answer
def test_answers_are_read_as_the_schema_says(cls: type[Any]) -> None:
    """A value fits a property exactly if the library reads it into the attribute."""
    for name, value in itertools.product(names(cls), SAMPLES):
        schema = SCHEMAS[cls.__name__]["properties"][name]
        if schema.get("format") == "int64" and value == 2.5:
            continue  # the library reads fractions of an instant too, should they ever come
        try:
            taken = not structure_value({name: value}, json.dumps({name: value}).encode(), cls).extra
        except StructureError:
            taken = False
        assert fits(schema, value) is taken, (name, value)


@by_body
def test_requests_are_taken_as_the_schema_says(cls: type[Any]) -> None:
    """A value fits a property exactly if the request class takes it, and is sent as that value."""
    schema = SCHEMAS[cls.__name__]
    groups = _facts.ALTERNATIVES.get(cls.__name__, ((),))
    for name, value in itertools.product(names(cls), (*SAMPLES, None)):
        group = next((group for group in groups if name in group), groups[0])
        values = {other: sample(cls.__name__, other) for other in {*schema.get("required", ()), *group}} | {name: value}
        if cls.__name__ in _facts.ALTERNATIVES and value is None:
            continue  # null is "not given" there: the test of the groups has it
        request = made(cls, values)
        assert fits(schema, values) is (request is not None), (name, value)
        assert request is None or json.loads(dump_body(request)) == values


@by_body
def test_groups_of_fields(cls: type[Any]) -> None:
    """A choice of fields, or of nulls, fits exactly if the class takes it."""
    schema = SCHEMAS[cls.__name__]
    for count in range(len(names(cls)) + 1):
        for chosen in itertools.combinations(names(cls), count):
            values = {name: sample(cls.__name__, name) for name in chosen}
            assert fits(schema, values) is (made(cls, values) is not None), values
            nulls = dict.fromkeys(set(names(cls)) - set(chosen)) | values
            assert fits(schema, nulls) is (made(cls, nulls) is not None), nulls


@by_name
def test_operation_is_the_row(name: str) -> None:
    """An operation tells mark, repetition, key and cursor as the table does."""
    row, found = ENDPOINTS[name], operation(name)
    told = [found.get(f"x-bardge-{word}") for word in ("mark", "again", "key-support", "cursor")]
    key = row.key.value if row.key is not KeySupport.NO else None
    wanted = [row.mark.value, row.repeat_effect and row.repeat_effect.value, key, row.cursor if row.paginated else None]
    assert (found["operationId"], told) == (operation_id(row), wanted)


@by_name
def test_parameters_are_the_rows(name: str) -> None:
    """Path, query, page and header parameters are the row's, and no others."""
    row = ENDPOINTS[name]
    wanted = [("path", word) for word in row.path_parameters] + [("query", word) for word in row.query]
    wanted += [("query", word) for word in ("limit", "starting_after", "ending_before") if row.paginated]
    wanted += [("header", "Idempotency-Key")] if row.key is not KeySupport.NO else []
    wanted += [("header", "Bardge-Lookup-Token")] if row.lookup_token else []
    shared = DOCUMENT["components"]["parameters"]
    given = [shared[p["$ref"].rpartition("/")[2]] if "$ref" in p else p for p in operation(name)["parameters"]]
    assert [(p["in"], p["name"]) for p in given] == wanted


def test_no_operations_beyond_the_table() -> None:
    """There is one operation for each row."""
    assert sum(len(methods) for methods in DOCUMENT["paths"].values()) == len(ENDPOINTS)


@by_name
def test_documented_exchange_fits(name: str) -> None:
    """What the contract tests send and get fits the operation's schemas."""
    example, found = EXAMPLES[name], operation(name)
    if "requestBody" in found:
        assert fits(found["requestBody"]["content"]["application/json"]["schema"], example.sent)
    assert ("requestBody" in found) is (example.sent is not None)
    answers = [answer for status, answer in found["responses"].items() if status.startswith("2")]
    assert all(fits(answer["content"]["application/json"]["schema"], example.answer) for answer in answers)


@by_name
def test_statuses(name: str) -> None:
    """Every documented status is there; only what changes state can conflict."""
    errors = {"400", "401", "403", "404", "500"} | ({"409"} if ENDPOINTS[name].method == "POST" else set[str]())
    found = set(operation(name)["responses"])
    assert (found - {"200", "201"}, "200" in found) == (errors, True)


def shown(value: object, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All objects of the document, with their places."""
    if isinstance(value, dict):
        inside = typing.cast("dict[str, Any]", value)
        yield place, inside
        for name, item in inside.items():
            yield from shown(item, f"{place}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(typing.cast("list[object]", value)):
            yield from shown(item, f"{place}/{index}")


def test_enums_stay_open() -> None:
    """No list of values is closed: a new value must not make an answer wrong."""
    assert [place for place, found in shown(DOCUMENT) if "enum" in found] == []


def test_examples_fit_their_schemas() -> None:
    """Every example fits the schema beside it."""
    for place, found in shown(DOCUMENT):
        for value in found.get("examples", ()) if "type" in found else ():
            assert fits({"type": found["type"]}, value), place
        for value in (
            found["examples"].values() if isinstance(found.get("examples"), dict) and "schema" in found else ()
        ):
            assert fits(found["schema"], value["value"]), place
        if "example" in found:
            assert fits(found["schema"], found["example"]), place


def test_facts_are_about_real_fields() -> None:
    """Facts beside the models name fields that exist."""
    pages = {"Page": {"data", *names(m.Page)}}
    real = {cls.__name__: set(names(cls)) for cls in CLASSES} | pages
    told = {(cls, field) for cls, fields in _facts.EXAMPLES.items() for field in fields}
    told |= {(cls, f) for cls, groups in _facts.ALTERNATIVES.items() for group in groups for f in group}
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
    """A link gives an existing field of one row's answer to a path parameter of another."""
    for source, targets in _facts.LINKS.items():
        row = ENDPOINTS[source]
        for target, (parameter, place) in targets.items():
            assert parameter in ENDPOINTS[target].path_parameters
            assert place.rpartition("/")[2] in names(row.item or row.response)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(bardge, ["openapi", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_command_writes_json() -> None:
    """``bardge openapi`` writes the document as JSON."""
    assert json.loads(run()) == DOCUMENT


def test_command_writes_yaml() -> None:
    """``bardge openapi --yaml`` writes the same, without anchors."""
    text = run("--yaml")
    assert (yaml.safe_load(text), "&id" in text) == (DOCUMENT, False)


def test_command_names_a_server() -> None:
    """``--server`` replaces the vendor's base URL."""
    assert json.loads(run("--server", "http://127.0.0.1:8765/x"))["servers"] == [{"url": "http://127.0.0.1:8765/x"}]


def test_missing_yaml_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyYAML the command says which extra it needs."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    result = CliRunner().invoke(bardge, ["openapi", "--yaml"])
    assert (result.exit_code, "bardge-async[cli,yaml]" in result.output) == (1, True)
