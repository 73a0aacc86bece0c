"""A strict cattrs converter between JSON and the models: nothing is guessed, nothing is dropped.

Stock cattrs turns ``None`` into ``'None'`` and ``"false"`` into ``True``; here a value of the wrong type is an error
with its path. Errors in page fields are raised together; guide and inferred fields keep the raw value in ``extra``.
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

from bardge_async._core.codegen import StructureHook, compile_reader, is_simple
from bardge_async._core.drift import CONTRADICTED, NEW, note_drift
from bardge_async._core.json_reader import parse_json_exact
from bardge_async._core.scalars import (
    InexactError,
    OpenEnum,
    StructureError,
    describe_error,
    mismatch,
    read_bool,
    read_date,
    read_decimal,
    read_float,
    read_int,
    read_str,
    read_timestamp,
    require_exact,
)
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import UNSET, Body, Mark, Page, Resource

T = TypeVar("T")

_SCALARS: Final[dict[Any, StructureHook]] = {
    str: read_str,
    bool: read_bool,
    int: read_int,
    float: read_float,
    Decimal: read_decimal,
    dt.datetime: read_timestamp,
    dt.date: read_date,
}


@attrs.frozen
class _ResponseField:
    """How one response field is read."""

    hook: StructureHook
    strict: bool


def parse_json(body: bytes) -> Any:
    """Parse JSON with the fast codec, or exactly and leniently if that refuses it; raise ValueError if it is not JSON.

    The fast codec reads fractions, and integers beyond 64 bits, as float: see ``InexactError``.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        return parse_json_exact(body)


def structure_value(parsed: object, body: bytes, cls: type[T]) -> T:
    """Structure parsed JSON as ``cls``; parse ``body`` again if a float may have lost digits.

    Raises:
        StructureError: The value contradicts the vendor's page, or the class refuses it.
    """
    hook = _get_hook(cast("Any", cls))
    try:
        try:
            value: T = hook(parsed)
        except InexactError:
            value = hook(parse_json_exact(body))
    except RecursionError:
        raise StructureError([("", "nested too deeply")]) from None
    except ValueError as error:
        raise StructureError([("", str(error))]) from None
    return value


def check_response_class(cls: object) -> None:
    """Check that JSON can be read as a class, before anything is sent.

    Raises:
        InvalidArgumentError: It is no class, or one that cattrs does not know.
    """
    try:
        _resolve_hooks(cls)
    except Exception as error:  # noqa: BLE001 - any annotation of the user's, and cattrs
        raise InvalidArgumentError(
            f"response: expected a class that JSON can be read as, got {cls!r:.80}: {describe_error(error)}"
        ) from None


@functools.cache
def _resolve_hooks(hint: Any) -> None:
    if hint is object or hint is Ellipsis:
        return
    if isinstance(hint, str):
        raise TypeError("it is text")
    _get_hook(hint)
    if typing.get_origin(hint) not in {typing.Literal, typing.Annotated}:
        # cattrs looks up some item types only with the first value.
        for member in typing.get_args(hint):
            _resolve_hooks(member)


def dump_body(request: Body) -> bytes:
    """Return the JSON body of a request, without unset fields and with ``extra`` merged in.

    Raises:
        InvalidArgumentError: A value cannot be represented in JSON.
    """
    cls: Any = type(request)  # mypy takes a class with its own __hash__ for unhashable
    return dump_json(_make_body_hook(cls)(request), cls.__name__)


def dump_json(value: object, name: str) -> bytes:
    """Return JSON bytes; ``name`` names the value in an error message."""
    try:
        _check_finite(value)
        return orjson.dumps(value, default=_dump_decimal)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{name}: cannot be sent as JSON: {error}") from None


def _dump_decimal(value: object) -> object:
    # orjson has no Decimal, and a float could change the digits of an amount.
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError(f"{value!r:.40} is not a JSON value")


def _check_finite(value: object) -> None:
    # orjson would silently encode NaN and infinity as null.
    if isinstance(value, dict):
        for item in cast("dict[object, object]", value).values():
            if type(item) is not str:
                _check_finite(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[object]", value):
            _check_finite(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")


@functools.cache
def _get_hook(hint: Any) -> StructureHook:
    """Return the hook for an annotation; it takes only the value."""
    hook = cast("StructureHook", _CONVERTER.get_structure_hook(hint))
    return hook if _is_ours(hint) else functools.partial(_call_cattrs_hook, hook, hint)


def _call_cattrs_hook(hook: StructureHook, hint: object, value: object) -> Any:
    # cattrs may take a float for any number, or wrap what our hooks raise.
    require_exact(value)
    try:
        return hook(value, hint)
    except (StructureError, RecursionError):
        raise
    except Exception as error:
        raise _refusal(hint, error) from error


def _refusal(hint: Any, error: Exception) -> StructureError:
    name = getattr(hint, "__name__", str(hint))
    return StructureError([("", f"{name} refuses the value: {describe_error(error)}")])


def _is_ours(hint: Any) -> bool:
    return hint in _SCALARS or any(known(hint) for known in (_is_open_enum, _is_tuple, _is_resource, _is_page))


def _make_enum_hook(hint: Any) -> OpenEnum:
    return OpenEnum(_find_enum(hint))


def _find_enum(hint: Any) -> type[enum.StrEnum]:
    return next(m for m in typing.get_args(hint) if isinstance(m, type) and issubclass(m, enum.StrEnum))


def _is_open_enum(hint: Any) -> bool:
    members = typing.get_args(hint)
    return typing.get_origin(hint) in {typing.Union, types.UnionType} and any(
        isinstance(m, type) and issubclass(m, enum.StrEnum) for m in members
    )


def _is_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple


def _make_tuple_hook(hint: Any) -> StructureHook:
    item = _get_hook(typing.get_args(hint)[0])

    def structure_tuple(value: object, _: object = None) -> tuple[Any, ...]:
        if type(value) is not list:
            raise mismatch("a list", value)
        items = cast("list[object]", value)
        try:
            return tuple(map(item, items))
        except StructureError:
            # map() stopped at the first mismatch: read all items again to report every one.
            raise _collect_mismatches(items, item) from None

    return structure_tuple


def _collect_mismatches(items: list[object], hook: StructureHook) -> StructureError:
    mismatches: list[tuple[str, str]] = []
    for index, value in enumerate(items):
        try:
            hook(value)
        except StructureError as error:
            mismatches += error.prefix_paths(f"[{index}]")
    return StructureError(mismatches)


def _is_resource(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Resource)


def _collect_fields(cls: type[Any]) -> dict[str, _ResponseField]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, _ResponseField] = {}
    for field in attrs.fields(cls):
        hint = hints[field.name]
        marks = getattr(hint, "__metadata__", ())
        if marks:
            wanted = _strip_none(typing.get_args(hint)[0])
            fields[field.name] = _ResponseField(_get_hook(wanted), strict=marks[0] is Mark.PAGE)
    return fields


def _strip_none(hint: Any) -> Any:
    members: list[Any] = [m for m in typing.get_args(hint) if m is not types.NoneType]
    return functools.reduce(lambda union, member: union | member, members)


def _make_resource_hook(cls: type[Any]) -> StructureHook:
    fields = _collect_fields(cls)
    careful = _make_careful_hook(cls, fields)
    if not is_simple(cls, fields):
        return careful
    common = [name for name, field in fields.items() if field.strict]
    hooks = {name: fields[name].hook for name in [*common, *(name for name in fields if name not in common)]}
    return compile_reader(cls, hooks, len(common), careful)


def _make_careful_hook(cls: type[Any], fields: dict[str, _ResponseField]) -> StructureHook:
    """Make a hook that reports all mismatches of page fields and keeps those of other fields in ``extra``."""

    def structure_resource(value: object, _: object = None) -> Any:
        if type(value) is not dict:
            raise mismatch("an object", value)
        mismatches: list[tuple[str, str]] = []
        values, extra = _read_object(cls.__name__, fields, cast("dict[str, object]", value), mismatches)
        if mismatches:
            raise StructureError(mismatches)
        try:
            return cls(extra=extra, **values)
        except Exception as error:
            raise _refusal(cls, error) from error

    return structure_resource


def _read_object(
    owner: str, fields: dict[str, _ResponseField], value: dict[str, object], mismatches: list[tuple[str, str]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the known fields and return the rest as extra; mismatches are appended to the list."""
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, raw in value.items():
        field = fields.get(name)
        if field is None:
            extra[name] = require_exact(raw)
            note_drift(owner, name, NEW)
        elif raw is not None:
            try:
                values[name] = field.hook(raw)
            except StructureError as error:
                if field.strict and not (name == "id" and _is_number(raw)):
                    mismatches += error.prefix_paths(f".{name}")
                else:
                    extra[name] = require_exact(raw)
                    note_drift(owner, name, CONTRADICTED)
    return values, extra


def _is_number(value: object) -> bool:
    """Return whether a value is a number, as some lists' ids are: a walk continues after its text."""
    return type(value) in {int, float, Decimal}


def _is_page(hint: Any) -> bool:
    return typing.get_origin(hint) is Page


def _make_page_hook(hint: Any) -> StructureHook:
    fields = _collect_fields(Page)
    items = _get_hook(types.GenericAlias(tuple, (*typing.get_args(hint), ...)))

    def structure_page(value: object, _: object = None) -> Page[Any]:
        if type(value) is not dict:
            raise mismatch("an object", value)
        rest = dict(cast("dict[str, object]", value))
        mismatches: list[tuple[str, str]] = []
        data = _read_member(items, rest.pop("data", None), ".data", mismatches)
        more = _read_member(read_bool, rest.pop("has_more", None), ".has_more", mismatches)
        known, extra = _read_object(Page.__name__, fields, rest, mismatches)
        if mismatches:
            raise StructureError(mismatches)
        return Page(items=data, has_more=more, extra=extra, **known)

    return structure_page


def _read_member(
    hook: StructureHook,
    value: object,
    step: str,
    mismatches: list[tuple[str, str]],
) -> Any:
    try:
        return hook(value)
    except StructureError as error:
        mismatches += error.prefix_paths(step)
        return None


@functools.cache
def _make_body_hook(cls: type[Any]) -> Callable[[Body], dict[str, Any]]:
    hints = typing.get_type_hints(cls)
    folds = {name: _make_case_folder(hint) for name, hint in hints.items() if _is_open_enum(hint)}
    names = [field.name for field in attrs.fields(cls) if field.name != "extra"]

    def unstructure_body(body: Body) -> dict[str, Any]:
        values = {name: value for name in names if (value := getattr(body, name)) is not UNSET}
        for name, fold in folds.items():
            if name in values:
                values[name] = fold(values[name])
        return values | body.extra if body.extra else values

    return unstructure_body


def _make_case_folder(hint: Any) -> Callable[[str | None], str | None]:
    structure_enum = _make_enum_hook(hint)
    return lambda value: None if value is None else structure_enum(str(value))


def _build_converter() -> cattrs.Converter:
    # Otherwise cattrs would wrap the errors of our hooks.
    converter = cattrs.Converter(detailed_validation=False)
    for cls, leaf in _SCALARS.items():
        converter.register_structure_hook(cls, leaf)
    converter.register_structure_hook_factory(_is_open_enum, _make_enum_hook)
    converter.register_structure_hook_factory(_is_tuple, _make_tuple_hook)
    converter.register_structure_hook_factory(_is_resource, _make_resource_hook)
    converter.register_structure_hook_factory(_is_page, _make_page_hook)
    return converter


_CONVERTER: Final = _build_converter()
