"""What the doctor says of fields: confirmed, contradicted, not seen, new; names and types, never a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest

from bardge_async import BardgeClient
from bardge_async.doctor import Examination, FieldFinding, FieldStatus, RowStatus, examine
from bardge_async.endpoints import ENDPOINTS, Endpoint
from bardge_async.models import Mark
from bardge_async.sandbox import Sandbox
from tests.doctor.api import (
    PACKAGES,
    Answer,
    always,
    change_item,
    examine_answers,
    examine_packages,
    find_field,
    find_row,
    list_packages,
    make_packages,
    wrap,
)

CLIENT: Final = "client_abc123"
GETS: Final = [endpoint for endpoint in ENDPOINTS.values() if endpoint.method == "GET"]


async def examine_sandbox(client_id: str | None = CLIENT) -> Examination:
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        return await examine(bardge, client_id=client_id)


@pytest.mark.parametrize("client_id", [CLIENT, None])
async def test_nothing_contradicts_the_sandbox(client_id: str | None) -> None:
    """Against the sandbox there is no contradiction, with a client or without."""
    examination = await examine_sandbox(client_id)
    assert (examination.connected, examination.contradictions, examination.options) == (True, (), ())


async def test_every_get_is_examined_with_a_client() -> None:
    """With a client, every GET of the table is examined, in the table's order."""
    rows = (await examine_sandbox()).rows
    assert [(row.endpoint, row.status) for row in rows] == [(one.name, RowStatus.EXAMINED) for one in GETS]


async def test_rows_of_a_client_are_not_examined_without_one() -> None:
    """Without a client, exactly the rows that need its id, or a booking's, are not examined."""
    rows = (await examine_sandbox(None)).rows
    skipped = {row.endpoint for row in rows if row.reason == "give --client"}
    assert skipped == {one.name for one in GETS if {"client_id", "booking_id"} & {*one.path_parameters}}


async def test_the_sandbox_shows_every_declared_field() -> None:
    """Every declared field of every GET answer is shown by the sandbox, a class's dates by ``classes.get`` only."""
    examination = await examine_sandbox()
    not_confirmed = {
        (row.endpoint, field.path)
        for row in examination.rows
        for field in row.fields
        if field.status is not FieldStatus.CONFIRMED
    }
    assert not_confirmed == {("classes.list", "data[].instances")}
    assert find_field(find_row(examination, "classes.get"), "instances[].id").status is FieldStatus.CONFIRMED


@pytest.mark.parametrize("endpoint", GETS, ids=lambda one: one.name)
async def test_findings_name_every_declared_field(endpoint: Endpoint[Any, Any]) -> None:
    """An endpoint's findings have each field that its class declares."""
    row = find_row(await examine_sandbox(), endpoint.name)
    cls, prefix = (endpoint.response, "") if endpoint.item is None else (endpoint.item, "data[].")
    declared = {prefix + field.name for field in attrs.fields(cls) if field.name != "extra"}
    assert declared <= {field.path for field in row.fields}


async def test_only_gets_are_sent() -> None:
    """An examination sends nothing but GETs, and not many."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        await examine(bardge, client_id=CLIENT)
        methods = [request.method for request in sandbox.requests]
    assert {*methods} == {"GET"}
    assert len(methods) < 80


CASES: Final[dict[str, tuple[Answer, str, FieldFinding]]] = {
    "confirmed": (
        list_packages(),
        "data[].credits",
        FieldFinding("data[].credits", FieldStatus.CONFIRMED, Mark.INFERRED, "number", None),
    ),
    "another type": (
        always(wrap(change_item(make_packages(1), "credits", "many"))),
        "data[].credits",
        FieldFinding("data[].credits", FieldStatus.CONTRADICTED, Mark.INFERRED, "number", "string"),
    ),
    "two other types": (
        always(
            wrap(
                [
                    *change_item(make_packages(1), "name", 1),
                    *change_item(make_packages(1), "name", {}),
                    *make_packages(3),
                ]
            )
        ),
        "data[].name",
        FieldFinding("data[].name", FieldStatus.CONTRADICTED, Mark.INFERRED, "string", "number or object"),
    ),
    "never sent": (
        always(wrap(change_item(make_packages(2), "amount", None))),
        "data[].amount",
        FieldFinding("data[].amount", FieldStatus.NOT_SEEN, Mark.INFERRED, "number", "missing"),
    ),
    "of an empty list": (
        always(wrap([])),
        "data[].amount",
        FieldFinding("data[].amount", FieldStatus.NOT_SEEN, Mark.INFERRED, "number", None),
    ),
    "new": (
        always(wrap(change_item(make_packages(2), "bonus", True))),
        "data[].bonus",
        FieldFinding("data[].bonus", FieldStatus.NEW, None, None, "boolean"),
    ),
    "page field missing": (
        always({"object": "list", "data": make_packages(1), "url": PACKAGES}),
        "has_more",
        FieldFinding("has_more", FieldStatus.CONTRADICTED, Mark.PAGE, "boolean", "missing"),
    ),
    "page field of another type": (
        always(wrap(make_packages(1), more="no")),
        "has_more",
        FieldFinding("has_more", FieldStatus.CONTRADICTED, Mark.PAGE, "boolean", "string"),
    ),
    "page field that may be missing": (
        always({"object": "list", "data": make_packages(1), "url": PACKAGES, "has_more": False}),
        "message",
        FieldFinding("message", FieldStatus.NOT_SEEN, Mark.PAGE, "string", "missing"),
    ),
    "an object for a list": (
        always(wrap({"cpkg_1": {}})),
        "data",
        FieldFinding("data", FieldStatus.CONTRADICTED, Mark.PAGE, "array", "object"),
    ),
    "lists of lists": (
        always(wrap([[1], [2]])),
        "data[]",
        FieldFinding("data[]", FieldStatus.CONTRADICTED, Mark.PAGE, "object", "array"),
    ),
    "an item that is null": (
        always(wrap([*make_packages(1), None])),
        "data[]",
        FieldFinding("data[]", FieldStatus.CONTRADICTED, Mark.PAGE, "object", "null"),
    ),
    "NaN": (
        always(body=b'{"object":"list","data":[{"credits":NaN}],"has_more":false,"url":""}'),
        "data[].credits",
        FieldFinding("data[].credits", FieldStatus.CONTRADICTED, Mark.INFERRED, "number", "no JSON value"),
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_field(name: str) -> None:
    """A field's finding has its status, mark, expected and found type."""
    answer, path, expected = CASES[name]
    assert find_field(await examine_packages(answer), path) == expected


async def test_new_and_unseen_fields_do_not_contradict() -> None:
    """New fields, and guide or inferred fields that no answer has, are no contradiction."""
    row = await examine_packages(always(wrap([{"id": "cpkg_1", "bonus": 1}])))
    assert row.contradictions == ()


async def test_no_value_is_reported() -> None:
    """No value of an answer gets into an examination: not text, not numbers, not of fields with a wrong type."""
    item = {"id": "v4lue-1", "name": ["v4lue-2"], "credits": "v4lue-3", "bonus": "v4lue-4", "amount": 987654321}
    examination = repr(await examine_answers({PACKAGES: always(wrap([item]))}))
    assert "v4lue" not in examination
    assert "987654321" not in examination


async def test_names_are_made_harmless() -> None:
    """The names of new fields are printable ASCII and of bounded length."""
    row = await examine_packages(always(wrap([{"\x1b[31mred\n": 1, "ä" * 1000: 1, "n" * 1000: 1}])))
    names = [field.path for field in row.fields if field.status is FieldStatus.NEW]
    assert len(names) == 3
    assert all(name.isascii() and name.isprintable() and len(name) < 100 for name in names)


async def test_names_without_end_are_not_all_listed() -> None:
    """An object with ids for names does not fill the report."""
    row = await examine_packages(always(wrap([{f"id_{number}": 1 for number in range(10_000)}])))
    new = [field for field in row.fields if field.status is FieldStatus.NEW]
    assert len(new) == 51
    assert new[-1].path == "(more than 50 new fields)"


def make_deep(depth: int) -> bytes:
    return b'{"object":"list","data":[{"id":' + b"[" * depth + b"]" * depth + b'}],"has_more":false,"url":""}'


HOSTILE: Final[dict[str, Callable[[], Answer]]] = {
    "deep": lambda: always(body=make_deep(100)),
    "too deep": lambda: always(body=make_deep(100_000)),
    "many items": lambda: always(wrap(make_packages(20_000))),
    "huge whole numbers": lambda: always(
        body=b'{"data":[{"id":' + b"9" * 5000 + b',"created":' + b"9" * 5000 + b"}],"
        b'"has_more":false,"object":"list","url":""}'
    ),
    "huge fractions": lambda: always(body=b'{"data":[{"id":1e999999,"credits":1e999999,"created":-1e400}]}'),
    "beyond Decimal": lambda: always(
        body=b'{"data":[{"id":1e9999999999999999999999,"created":1e-99999999999999999999}]}'
    ),
    "same ids": lambda: always(wrap(make_packages(1) * 5)),
    "odd ids": lambda: always(wrap([{"id": ".."}, {"id": ""}, {"id": "\x00"}, {"id": "a/b?c#d"}, {"id": "x" * 5000}])),
    "lone surrogates": lambda: always(body=b'{"data":[{"id":"\\ud800","\\ud800":1},{"id":"x"}]}'),
    "items of all kinds": lambda: always(body=b'{"data":[1,"x",null,[],{},true,1.5]}'),
    "null": lambda: always(body=b"null"),
    "a number": lambda: always(body=b"1"),
    "no JSON": lambda: always(body=b"<html>"),
    "nothing": lambda: always(body=b""),
}


@pytest.mark.parametrize("path", ["/credit_packages", "/passes", "/providers", "/classes", "/clients/c/bookings"])
@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_answers(name: str, path: str) -> None:
    """Whatever an answer holds, the examination ends, and finds something wrong with the list."""
    answers: dict[str, Any] = {"/issuers": always({**wrap([{"id": "iss_1"}]), "url": "/issuers"})}
    examination = await examine_answers({**answers, path: HOSTILE[name]()}, client_id="c")
    row = next(one for one in examination.rows if one.path.replace("{client_id}", "c") == path)
    assert row.contradictions or row.reason
