"""Table, client methods and sandbox behaviours correspond, by name and signature; the README has its own test."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bardge_async import ENDPOINTS, BardgeClient, Endpoint, IdempotentClient, Walk
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox.behaviours import BEHAVIOURS
from tests.contract.rows import NAMES

SPAN = ("limit", "page_size", "starting_after", "ending_before")

by_name = pytest.mark.parametrize("name", NAMES)


@functools.cache
def find_resource_classes() -> dict[str, type[Any]]:
    """Return the resource classes, such as that of ``bardge.passes``, by attribute."""
    client = BardgeClient("key", "http://localhost:1")
    return {noun: type(getattr(client, noun)) for noun in vars(client) if not noun.startswith("_")}


def get_method(name: str) -> Callable[..., Any]:
    noun, _, verb = name.partition(".")
    found: Callable[..., Any] = getattr(find_resource_classes()[noun], verb)
    return found


def list_method_names() -> Iterator[str]:
    for noun, cls in find_resource_classes().items():
        for verb in vars(cls):
            if not verb.startswith("_"):
                yield f"{noun}.{verb}"


def list_parameters(name: str) -> list[inspect.Parameter]:
    return list(inspect.signature(get_method(name)).parameters.values())[1:]


def list_positional(name: str) -> list[str]:
    return [p.name for p in list_parameters(name) if p.kind is p.POSITIONAL_OR_KEYWORD]


def list_keywords(name: str) -> set[str]:
    return {p.name for p in list_parameters(name) if p.kind is p.KEYWORD_ONLY}


def get_promised_type(row: Endpoint[Any, Any]) -> object:
    item: Any = row.item
    return Walk[item] if row.paginated else row.response


@by_name
def test_row_exists(name: str) -> None:
    """Each of the notes' endpoints is in the table under its own name."""
    assert ENDPOINTS[name].name == name


@by_name
def test_method_exists(name: str) -> None:
    """Each endpoint has a method of its name, with a docstring."""
    assert (get_method(name).__doc__ or "").strip()


@by_name
def test_behaviour_exists(name: str) -> None:
    """The sandbox implements each endpoint."""
    assert callable(BEHAVIOURS[name])


def test_no_rows_beyond_the_notes() -> None:
    """The table holds the notes' endpoints, in their order, and no others."""
    assert tuple(ENDPOINTS) == NAMES


def test_no_methods_beyond_the_table() -> None:
    """Every public method of a resource has an endpoint."""
    assert set(list_method_names()) == set(NAMES)


def test_no_behaviours_beyond_the_table() -> None:
    """The sandbox implements nothing that is not an endpoint."""
    assert set(BEHAVIOURS) == set(NAMES)


def test_client_and_block_have_the_same_resources() -> None:
    """The block's client offers each resource of the client, of the same class."""
    client = BardgeClient("key", "http://localhost:1")
    block = client.idempotent()
    assert isinstance(block, IdempotentClient)
    assert all(type(getattr(block, noun)) is cls for noun, cls in find_resource_classes().items())


@by_name
def test_positional_arguments(name: str) -> None:
    """Path arguments come first, named as in the path, then ``request`` exactly if the endpoint takes one."""
    row = ENDPOINTS[name]
    assert list_positional(name) == [*row.path_parameters, *(["request"] if row.takes_body else [])]


@by_name
def test_keyword_arguments(name: str) -> None:
    """Only lists take the span and the endpoint's query values, and only lookup endpoints the token."""
    row = ENDPOINTS[name]
    wanted = {*(SPAN if row.paginated else ()), *row.query, *(["lookup_token"] if row.lookup_token else [])}
    optional = {"read_ahead"} if row.paginated else set[str]()
    assert wanted <= list_keywords(name) <= wanted | optional


@by_name
def test_only_plain_parameters(name: str) -> None:
    """No ``*args`` or ``**kwargs``: a misspelled argument is a TypeError; every keyword has a default."""
    given = list_parameters(name)
    assert {p.kind for p in given} <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert all((p.default is p.empty) == (p.kind is p.POSITIONAL_OR_KEYWORD) for p in given)


@by_name
def test_annotations(name: str) -> None:
    """Path arguments are text, ``request`` is of the endpoint's class, the result is of its response class."""
    row = ENDPOINTS[name]
    hints = typing.get_type_hints(get_method(name))
    wanted: dict[str, object] = {**dict.fromkeys(row.path_parameters, str), "return": get_promised_type(row)}
    if row.takes_body:
        wanted["request"] = row.request
    assert {key: hints[key] for key in wanted} == wanted


@by_name
def test_lists_are_walks_at_once(name: str) -> None:
    """A list method is a plain function that returns a walk; all other methods are coroutine functions."""
    assert inspect.iscoroutinefunction(get_method(name)) is not ENDPOINTS[name].paginated


@by_name
def test_behaviour_signature(name: str) -> None:
    """A behaviour takes one call and returns the response body."""
    behaviour = BEHAVIOURS[name]
    hints = typing.get_type_hints(behaviour)
    assert (len(inspect.signature(behaviour).parameters), hints.pop("return"), *hints.values()) == (
        1,
        JSON,
        SandboxRequest,
    )
