"""What all model classes share: marks, the unset value, ``extra`` and the checks of requests."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import types
import typing
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, TypeVar, Union, cast

import attrs

from bardge_async.errors import InvalidArgumentError

T = TypeVar("T")
C = TypeVar("C", bound="type[Model]")


class Mark(enum.StrEnum):
    """Tell how well a fact of the API is known."""

    PAGE = "page"
    """An example or a table on the vendor's own page shows it."""
    GUIDE = "guide"
    """A vendor guide names it in prose, without an example."""
    INFERRED = "inferred"
    """Nothing shows it; chosen by analogy."""


class Unset(enum.Enum):
    """Annotate a request field that may be left out; its only value is :data:`UNSET`."""

    UNSET = enum.auto()

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET
"""Leave a request field out of the body; ``None`` is sent as ``null``."""

FromPage = Annotated[T | None, Mark.PAGE]
FromGuide = Annotated[T | None, Mark.GUIDE]
Inferred = Annotated[T | None, Mark.INFERRED]
"""A response field by its mark: missing and ``null`` become None; only page fields raise on another type."""

Optional: TypeAlias = T | Unset | None
"""A request field that may be left unset."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Model:
    """Hold one value of the API; ``extra`` keeps what the library does not know."""

    schema: ClassVar[str | None] = None
    """The vendor's schema name; None where the menu has none."""
    mark: ClassVar[Mark] = Mark.INFERRED
    """How well the class is known."""

    extra: dict[str, Any] = attrs.field(factory=dict[str, Any])

    # For all classes together: made for each of fifty, as attrs does it, they take a fifth of the package's import.

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _field_values(self) == _field_values(other)

    def __hash__(self) -> int:
        return hash((type(self), *(value for name, value in _field_values(self) if name != "extra")))

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in _field_values(self))})"


def _field_values(model: Model) -> list[tuple[str, object]]:
    cls: Any = type(model)  # mypy takes a class with its own __hash__ for unhashable
    return [(field.name, getattr(model, field.name)) for field in attrs.fields(cls)]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Resource(Model):
    """Hold one answer: every field may be None, unknown fields are in ``extra``."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Body(Model):
    """Hold one request body: ``extra`` is merged into it.

    Raises:
        InvalidArgumentError: A value of another type than annotated, or ``extra`` naming a declared field.
    """

    def __attrs_post_init__(self) -> None:
        if type(self.extra) is not dict or self.extra:
            _check_extra(self)
        cls: Any = type(self)  # mypy takes a class with its own __hash__ for unhashable
        for name, kind in field_types(cls):
            value = getattr(self, name)
            if type(value) is not kind.exact_type and value is not UNSET and not kind.accepts(value):
                msg = f"{type(self).__name__}.{name}: expected {kind.expected}, got {value!r:.80}"
                raise InvalidArgumentError(msg)


def schema(name: str | None, mark: Mark) -> Callable[[C], C]:
    """Attach the vendor's schema name and the class's mark."""

    def attach_schema(cls: C) -> C:
        cls.schema = name
        cls.mark = mark
        return cls

    return attach_schema


@attrs.frozen(eq=False, repr=False)
class FieldType:
    """What a request field accepts, in words and as a check; values of the very type ``usual`` need none."""

    expected: str
    accepts: Callable[[object], bool]
    exact_type: type[Any] | None = None


def _is_str_tuple(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in cast("tuple[object, ...]", value))


_FIELD_TYPES: Final[dict[object, FieldType]] = {
    str: FieldType("text", lambda v: isinstance(v, str), str),
    bool: FieldType("True or False", lambda v: isinstance(v, bool), bool),
    int: FieldType("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool), int),
    Decimal: FieldType("a Decimal", lambda v: isinstance(v, Decimal), Decimal),
    dt.date: FieldType(
        "a calendar day such as datetime.date(2026, 12, 31)",
        lambda v: isinstance(v, dt.date) and not isinstance(v, dt.datetime),
        dt.date,
    ),
    types.NoneType: FieldType("None", lambda v: v is None),
    tuple[str, ...]: FieldType("a list of texts", _is_str_tuple),
}


@functools.cache
def field_types(cls: type[Any]) -> tuple[tuple[str, FieldType], ...]:
    """Read a request class's fields and what each accepts, once per class."""
    hints = typing.get_type_hints(cls)
    return tuple((a.name, _find_field_type(hints[a.name])) for a in attrs.fields(cls) if a.name != "extra")


def _find_field_type(hint: Any) -> FieldType:  # noqa: ANN401 - any annotation
    if typing.get_origin(hint) in (Union, types.UnionType):
        members = [m for m in typing.get_args(hint) if m is not Unset and m in _FIELD_TYPES]
        # An open enum is a text too, so that the member `str` beside it speaks for both.
        kinds = [_FIELD_TYPES[m] for m in members]
        expected = " or ".join(kind.expected for kind in kinds)
        usual = next((kind.exact_type for kind in kinds if kind.exact_type is not None), None)
        return FieldType(expected, lambda v: any(k.accepts(v) for k in kinds), usual)
    return _FIELD_TYPES[hint]


def _check_extra(body: Body) -> None:
    if not isinstance(cast("object", body.extra), dict):
        msg = f"{type(body).__name__}.extra: expected a dict, got {body.extra!r:.80}"
        raise InvalidArgumentError(msg)
    names = {a.name for a in attrs.fields(type(body))}
    for name in body.extra:
        if name in names:
            msg = f"{type(body).__name__}.extra: {name!r} is a declared field, pass it as {name}=..."
            raise InvalidArgumentError(msg)


def require_one_of(body: Body, first: tuple[str, ...], second: tuple[str, ...]) -> None:
    """Refuse a body that sets neither or both of two alternatives, or only a part of one."""
    given = [n for n in first + second if getattr(body, n) not in (UNSET, None)]
    if tuple(given) not in (first, second):
        choice = f"either {' and '.join(first)}, or {' and '.join(second)}"
        got = " and ".join(given) or "none of them"
        msg = f"{type(body).__name__}: give {choice}; got {got}"
        raise InvalidArgumentError(msg)


def list_to_tuple(values: Sequence[str] | Unset | None) -> tuple[str, ...] | Unset | None:
    """Turn a list into a tuple and leave anything else to the check."""
    return tuple(values) if isinstance(values, list) else values  # type: ignore[return-value]  # the check refuses it
