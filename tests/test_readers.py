"""The generated readers agree with the careful path, for our classes; a user's own class may be anything."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bardge_async import models
from bardge_async._core.codegen import is_simple
from bardge_async._core.converter import (
    _collect_fields,
    _make_careful_hook,
    parse_json,
    structure_value,
)
from bardge_async._core.json_reader import parse_json_exact
from bardge_async._core.scalars import InexactError, StructureError
from bardge_async.models import Page, Resource
from bardge_async.models._base import FromPage, Inferred

CLASSES: list[type[Any]] = [
    cls
    for name in models.__all__
    if isinstance(cls := getattr(models, name), type) and issubclass(cls, Resource) and cls not in (Resource, Page)
]


@attrs.frozen(kw_only=True)
class Plain(Resource):
    """Only marked fields."""

    id: FromPage[str] = None


def upper(text: str | None) -> str | None:
    return text and text.upper()


@attrs.frozen(kw_only=True)
class Converted(Resource):
    """A converter changes the value."""

    id: FromPage[str] = attrs.field(default=None, converter=upper)


@attrs.frozen(kw_only=True)
class Defaulted(Resource):
    """A missing field is not None."""

    id: FromPage[str] = "none"


@attrs.frozen(kw_only=True)
class Checked(Resource):
    """A validator rejects some values."""

    id: FromPage[str] = None

    def __attrs_post_init__(self) -> None:
        if self.id == "bad":
            raise RuntimeError(self.id)


@attrs.frozen(kw_only=True)
class Beside(Resource):
    """One field is not a field of the response."""

    id: FromPage[str] = None
    seen: int = 0


@attrs.frozen(kw_only=True)
class Longer(Plain):
    """A subclass of such a class."""

    name: FromPage[str] = None


@attrs.frozen(kw_only=True, slots=False)
class Loose(Resource):
    """A class without slots."""

    id: FromPage[str] = None


@attrs.frozen(kw_only=True)
class Foreign(Resource):
    """A field of a type that cattrs reads by itself."""

    names: Inferred[dict[str, int]] = None


def decode(cls: Any, value: object) -> Any:
    body = json.dumps(value).encode()
    return structure_value(parse_json(body), body, cls)


@pytest.mark.parametrize("cls", CLASSES)
def test_ours_stay_plain(cls: type[Any]) -> None:
    """A converter, validator, ``__attrs_post_init__`` or default on one of our classes is detected."""
    assert is_simple(cls, _collect_fields(cls))


@pytest.mark.parametrize("cls", [Converted, Defaulted, Checked, Beside, Loose])
def test_others_are_not(cls: type[Any]) -> None:
    """Such a class goes through its own ``__init__``."""
    assert not is_simple(cls, _collect_fields(cls))


@pytest.mark.parametrize(
    ("cls", "sent", "value"),
    [
        (Plain, {"id": "a", "new": 1}, Plain(id="a", extra={"new": 1})),
        (Converted, {"id": "a"}, Converted(id="A")),
        (Defaulted, {}, Defaulted(id="none")),
        (Checked, {"id": "a"}, Checked(id="a")),
        (Beside, {"id": "a", "seen": 2}, Beside(id="a", extra={"seen": 2})),
        (Longer, {"id": "a", "name": "b"}, Longer(id="a", name="b")),
        (Loose, {"id": "a"}, Loose(id="a")),
        (Foreign, {"names": {"a": 1}}, Foreign(names={"a": 1})),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (tuple[dict[str, int], ...], [{"a": 1}], ({"a": 1},)),
    ],
)
def test_own_classes(cls: Any, sent: object, value: object) -> None:
    """A user's class is read as its own ``__init__`` makes it."""
    assert decode(cls, sent) == value


def test_own_checks() -> None:
    """What a user's class raises is a fault of the response, with the reason."""
    with pytest.raises(StructureError, match="Checked refuses the value: RuntimeError: bad"):
        decode(Checked, {"id": "bad"})


def test_value_is_of_its_class() -> None:
    """Values made either way are indistinguishable: class, repr, freezing, extra."""
    value: Any = decode(Plain, {"id": "a"})
    assert type(value).__name__ == "Plain"
    assert isinstance(value, Plain)
    assert repr(value) == "Plain(extra={}, id='a')"
    assert value.extra is not decode(Plain, {"id": "a"}).extra
    for name in ("id", "extra"):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, name, "b")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(value, name)


NUMBERS = (0, -1, 7, 10**11 - 1, 10**11, -(10**11), 1746700000123, 1747724400, 253402300800, 253402300800000, 10**25)
TEXTS = ("", "x", "SPA", "spa", "Monthly", "2026-05-20", "2026-02-30", "20260520--")
LEAVES = st.sampled_from([None, True, False, 1.5, *NUMBERS, *TEXTS, [], {}, ["a"], ["a", None], {"a": 1.5}])
NAMES = sorted({field.name for cls in CLASSES for field in attrs.fields(cls)})
OBJECTS = st.dictionaries(st.sampled_from([*NAMES, "new", "self", "_"]), LEAVES, max_size=8)


def read_outcome(read: Any, cls: type[Any], body: bytes) -> Any:
    """Return what reading gives: the value with its repr, or the faults."""
    try:
        value = read(parse_json(body), body, cls)
    except StructureError as error:
        return error.mismatches
    return value, repr(value), type(value)


def read_carefully(parsed: Any, body: bytes, cls: type[Any]) -> Any:
    read = _make_careful_hook(cls, _collect_fields(cls))
    try:
        return read(parsed)
    except InexactError:
        return read(parse_json_exact(body))


@settings(deadline=None, derandomize=True, max_examples=600)
@given(st.sampled_from(CLASSES), st.data())
def test_same_as_carefully(cls: type[Any], data: st.DataObject) -> None:
    """Both paths give the same values, and the same faults."""
    own = [field.name for field in attrs.fields(cls) if field.name != "extra"]
    nested = LEAVES | OBJECTS | st.lists(OBJECTS, max_size=2)
    sent = data.draw(st.dictionaries(st.sampled_from([*own, "extra", "new"]), nested, max_size=12))
    body = json.dumps(sent).encode()
    assert read_outcome(structure_value, cls, body) == read_outcome(read_carefully, cls, body)


@pytest.mark.parametrize("number", NUMBERS)
def test_instants(number: int) -> None:
    """Seconds and milliseconds, before and after 1970, are read alike on both paths; too large ones are faults."""
    body = json.dumps({"created": number}).encode()
    assert read_outcome(structure_value, models.Pass, body) == read_outcome(read_carefully, models.Pass, body)


def test_milliseconds_are_kept() -> None:
    """Fractions of a second are kept."""
    assert decode(models.Pass, {"created": 1746700000123}).created == dt.datetime(
        2025, 5, 8, 10, 26, 40, 123000, tzinfo=dt.UTC
    )
