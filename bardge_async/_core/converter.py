"""One strict cattrs converter: JSON values in and out of the models, nothing guessed, nothing dropped.

Stock cattrs turns ``None`` into ``'None'`` and ``"false"`` into ``True``; here a value of another type is a fault
with its path. Faults of page fields are raised, all at once; guide and inferred fields keep the raw value in
``extra``.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import math
import types
import typing
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeVar, cast

import attrs
import cattrs
import orjson

from bardge_async._core.codegen import Hook, plain, reader
from bardge_async._core.scalars import (
    InexactError,
    OpenEnum,
    StructureError,
    day,
    degrees,
    exact,
    fault,
    flag,
    instant,
    money,
    parse_exact,
    text,
    whole,
)
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import UNSET, Body, Mark, Page, Resource

T = TypeVar("T")

_LEAVES: Final[dict[Any, Hook]] = {
    str: text,
    bool: flag,
    int: whole,
    float: degrees,
    Decimal: money,
    dt.datetime: instant,
    dt.date: day,
}


@attrs.frozen
class _Field:
    """How one response field is read."""

    hook: Hook
    strict: bool


def structure(parsed: object, body: bytes, cls: type[T]) -> T:
    """Make a value of ``cls`` from parsed JSON; parse the body anew where a float lost digits.

    Raises:
        StructureError: The value contradicts a page.
    """
    hook = _hook(cast("Any", cls))
    try:
        return cast("T", hook(parsed))
    except InexactError:
        pass
    except RecursionError:
        raise StructureError([("", "nested too deeply")]) from None
    return cast("T", _exactly(hook, body))


def _exactly(hook: Hook, body: bytes) -> object:
    try:
        parsed = parse_exact(body)
    except ValueError as error:
        raise StructureError([("", str(error))]) from None
    try:
        return hook(parsed)
    except RecursionError:
        raise StructureError([("", "nested too deeply")]) from None


def encode(request: Body) -> bytes:
    """Make the JSON body of a request: unset fields left out, ``extra`` merged in.

    Raises:
        InvalidArgumentError: A text or ``extra`` holds what JSON cannot.
    """
    cls: Any = type(request)  # mypy takes a class with its own __hash__ for unhashable
    return dump(_body_hook(cls)(request), cls.__name__)


def dump(value: object, name: str) -> bytes:
    """Make JSON bytes; ``name`` is what an error calls the value."""
    try:
        _check_finite(value)
        return orjson.dumps(value, default=_exact_number)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{name}: cannot be sent as JSON: {error}") from None


def _exact_number(value: object) -> object:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError(f"{value!r:.40} is no JSON value")


def _check_finite(value: object) -> None:
    # orjson would silently send null.
    if isinstance(value, dict):
        for item in cast("dict[object, object]", value).values():
            if type(item) is not str:
                _check_finite(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[object]", value):
            _check_finite(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")


@functools.cache
def _hook(hint: Any) -> Hook:  # noqa: ANN401 - any annotation
    """Return what reads a value of an annotation; it takes the value alone."""
    hook = cast("Hook", _CONVERTER.get_structure_hook(hint))
    return hook if _is_ours(hint) else functools.partial(_foreign, hook, hint)


def _foreign(hook: Hook, hint: object, value: object) -> Any:  # noqa: ANN401 - what cattrs makes of it
    return hook(value, hint)


def _is_ours(hint: Any) -> bool:  # noqa: ANN401 - any annotation
    return hint in _LEAVES or any(known(hint) for known in (_is_open_enum, _is_tuple, _is_resource, _is_page))


def _open_enum(hint: Any) -> OpenEnum:  # noqa: ANN401 - any annotation
    return OpenEnum(_enum_of(hint))


def _enum_of(hint: Any) -> type[enum.StrEnum]:  # noqa: ANN401 - any annotation
    return next(m for m in typing.get_args(hint) if isinstance(m, type) and issubclass(m, enum.StrEnum))


def _is_open_enum(hint: Any) -> bool:  # noqa: ANN401 - any annotation
    members = typing.get_args(hint)
    return typing.get_origin(hint) in {typing.Union, types.UnionType} and any(
        isinstance(m, type) and issubclass(m, enum.StrEnum) for m in members
    )


def _is_tuple(hint: Any) -> bool:  # noqa: ANN401 - any annotation
    return typing.get_origin(hint) is tuple


def _tuple_hook(hint: Any) -> Hook:  # noqa: ANN401 - any annotation
    item = _hook(typing.get_args(hint)[0])

    def structure_tuple(value: object, _: object = None) -> tuple[Any, ...]:
        if type(value) is not list:
            raise fault("a list", value)
        items = cast("list[object]", value)
        try:
            return tuple(map(item, items))
        except StructureError:
            raise _all_faults(items, item) from None

    return structure_tuple


def _all_faults(items: list[object], hook: Hook) -> StructureError:
    faults: list[tuple[str, str]] = []
    for index, value in enumerate(items):
        try:
            hook(value)
        except StructureError as error:
            faults += error.below(f"[{index}]")
    return StructureError(faults)


def _is_resource(hint: Any) -> bool:  # noqa: ANN401 - any annotation
    return isinstance(hint, type) and issubclass(hint, Resource)


def _fields(cls: type[Any]) -> dict[str, _Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, _Field] = {}
    for field in attrs.fields(cls):
        hint = hints[field.name]
        marks = getattr(hint, "__metadata__", ())
        if marks:
            wanted = _without_none(typing.get_args(hint)[0])
            fields[field.name] = _Field(_hook(wanted), strict=marks[0] is Mark.PAGE)
    return fields


def _without_none(hint: Any) -> Any:  # noqa: ANN401 - any annotation
    members: list[Any] = [m for m in typing.get_args(hint) if m is not types.NoneType]
    return functools.reduce(lambda union, member: union | member, members)


def _resource_hook(cls: type[Any]) -> Hook:
    fields = _fields(cls)
    careful = _careful(cls, fields)
    if not plain(cls, fields):
        return careful
    usual = [name for name, field in fields.items() if field.strict]
    hooks = {name: fields[name].hook for name in [*usual, *(name for name in fields if name not in usual)]}
    return reader(cls, hooks, len(usual), careful)


def _careful(cls: type[Any], fields: dict[str, _Field]) -> Hook:
    """Make the function that tells every fault of an object, and keeps wrong guesses raw."""

    def structure_resource(value: object, _: object = None) -> Any:  # noqa: ANN401 - an instance of cls
        if type(value) is not dict:
            raise fault("an object", value)
        faults: list[tuple[str, str]] = []
        values, extra = _read(fields, cast("dict[str, object]", value), faults)
        if faults:
            raise StructureError(faults)
        return cls(extra=extra, **values)

    return structure_resource


def _read(
    fields: dict[str, _Field], value: dict[str, object], faults: list[tuple[str, str]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what is known of an object, and keep the rest; faults are added to the list."""
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, raw in value.items():
        field = fields.get(name)
        if field is None:
            extra[name] = exact(raw)
        elif raw is not None:
            try:
                values[name] = field.hook(raw)
            except StructureError as error:
                if field.strict:
                    faults += error.below(f".{name}")
                else:
                    extra[name] = exact(raw)
    return values, extra


def _is_page(hint: Any) -> bool:  # noqa: ANN401 - any annotation
    return typing.get_origin(hint) is Page


def _page_hook(hint: Any) -> Hook:  # noqa: ANN401 - any annotation
    fields = _fields(Page)
    items = _hook(types.GenericAlias(tuple, (*typing.get_args(hint), ...)))

    def structure_page(value: object, _: object = None) -> Page[Any]:
        if type(value) is not dict:
            raise fault("an object", value)
        rest = dict(cast("dict[str, object]", value))
        faults: list[tuple[str, str]] = []
        data = _member(items, rest.pop("data", None), ".data", faults)
        more = _member(flag, rest.pop("has_more", None), ".has_more", faults)
        known, extra = _read(fields, rest, faults)
        if faults:
            raise StructureError(faults)
        return Page(items=data, has_more=more, extra=extra, **known)

    return structure_page


def _member(hook: Hook, value: object, step: str, faults: list[tuple[str, str]]) -> Any:  # noqa: ANN401 - the hook's
    try:
        return hook(value)
    except StructureError as error:
        faults += error.below(step)
        return None


@functools.cache
def _body_hook(cls: type[Any]) -> Callable[[Body], dict[str, Any]]:
    hints = typing.get_type_hints(cls)
    folds = {name: _fold(hint) for name, hint in hints.items() if _is_open_enum(hint)}
    names = [field.name for field in attrs.fields(cls) if field.name != "extra"]

    def unstructure_body(body: Body) -> dict[str, Any]:
        values = {name: value for name in names if (value := getattr(body, name)) is not UNSET}
        for name, fold in folds.items():
            if name in values:
                values[name] = fold(values[name])
        return values | body.extra if body.extra else values

    return unstructure_body


def _fold(hint: Any) -> Callable[[str | None], str | None]:  # noqa: ANN401 - any annotation
    structure_enum = _open_enum(hint)
    return lambda value: None if value is None else structure_enum(str(value))


def _build() -> cattrs.Converter:
    converter = cattrs.Converter()
    for cls, leaf in _LEAVES.items():
        converter.register_structure_hook(cls, leaf)
    converter.register_structure_hook_factory(_is_open_enum, _open_enum)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_is_resource, _resource_hook)
    converter.register_structure_hook_factory(_is_page, _page_hook)
    return converter


_CONVERTER: Final = _build()
