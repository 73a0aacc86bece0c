"""What a row's answers show of the fields that its models declare. Names and JSON types only, never a value."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

import attrs

from bardge_async._core.converter import structure_value
from bardge_async._core.drift import take_drift
from bardge_async._core.scalars import StructureError
from bardge_async.doctor._findings import FieldFinding, FieldStatus, expected_type, json_type, show_name
from bardge_async.models import Mark, Page, Resource, Unset

_WIRE_NAMES: Final[Mapping[tuple[Any, str], str]] = {(Page, "items"): "data"}
# Page fields that an answer may rightly lack (the API notes: "not always there"; passes without a limit of visits).
_MAY_LACK: Final = frozenset(
    {("Page", "message"), ("CategoryDetail", "visits_allowed"), ("CategoryDetails", "visits_allowed")}
)
# Page fields of one kind of booking only.
_ONLY_FOR: Final[Mapping[tuple[str, str], str]] = {
    ("Booking", "service_name"): "spa",
    ("Booking", "class_name"): "class",
    ("Booking", "visits_deducted"): "class",
}


@attrs.frozen
class DeclaredField:
    """One field of a model, under its name in JSON."""

    owner: type[Any]
    name: str
    hint: Any
    mark: Mark

    @property
    def nested(self) -> type[Any] | None:
        """The class of the objects in it; None if it holds none."""
        hint = typing.get_args(self.hint)[0] if typing.get_origin(self.hint) is tuple else self.hint
        return hint if isinstance(hint, type) and issubclass(hint, Resource) else None


@functools.cache
def _collect_fields(cls: type[Resource]) -> dict[str, DeclaredField]:
    """Return a model's fields by their names in JSON."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found: dict[str, DeclaredField] = {}
    for attribute in attrs.fields(cls):
        if attribute.name == "extra" or (cls is Page and attribute.name == "request_id"):
            continue
        hint, marks = hints[attribute.name], getattr(hints[attribute.name], "__metadata__", ())
        mark = marks[0] if marks else Mark.PAGE
        plain = _strip_none(typing.get_args(hint)[0] if marks else hint)
        name: str = _WIRE_NAMES.get((cls, attribute.name)) or attribute.name
        found[name] = DeclaredField(cls, name, plain, mark)
    return found


def _strip_none(hint: Any) -> Any:  # noqa: ANN401 - any annotation
    if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
        return hint
    members = [member for member in typing.get_args(hint) if member not in (Unset, types.NoneType)]
    return members[0]


_MAX_NEW: Final = 50
"""How many new fields are listed: an object with ids for names would have thousands."""


@attrs.define
class _Seen:
    """What was seen of one field; ``expected`` is None for a new one."""

    expected: str | None
    mark: Mark | None
    may_lack: bool = True
    good: int = 0
    absent: int = 0
    wrong: set[str] = attrs.field(factory=set[str])
    kinds: set[str] = attrs.field(factory=set[str])


class FieldSurvey:
    """Collect what answers show of the fields of a model and of the models in it; ``hide`` cleans the names in them."""

    def __init__(self, hide: Callable[[str], str] = str) -> None:
        self._hide = hide
        self._seen: dict[str, _Seen] = {}
        self._new: dict[str, str] = {}
        self._has_more_new = False

    def add(self, cls: type[Any], value: object, path: str = "") -> None:
        """Look at one object; what is none contradicts the model."""
        if not isinstance(value, dict):
            self._seen.setdefault(path, _Seen("object", Mark.PAGE)).wrong.add(json_type(value))
            return
        given = cast("dict[str, Any]", value)
        prefix = f"{path}." if path else ""
        fields = _collect_fields(cast("Any", cls))
        for field in fields.values():
            self._add_field(field, given, prefix)
        for name in given.keys() - fields.keys():
            self._add_new(prefix, name, given[name])

    def add_items(self, cls: type[Any], items: Iterable[object], path: str) -> None:
        """Look at the objects of a list; the fields of an empty one were not seen."""
        for field in _collect_fields(cast("Any", cls)).values():
            self._note(field, f"{path}.")
        for item in items:
            self.add(cls, item, path)

    def _note(self, field: DeclaredField, prefix: str) -> _Seen:
        may_lack = field.mark is not Mark.PAGE or (field.owner.__name__, field.name) in _MAY_LACK
        return self._seen.setdefault(
            prefix + field.name, _Seen(expected_type(field.hint), field.mark, may_lack=may_lack)
        )

    def _add_new(self, prefix: str, name: str, value: object) -> None:
        path = prefix + name
        if path not in self._new:
            if len(self._new) >= _MAX_NEW:
                self._has_more_new = True
                return
            self._new[path] = prefix + show_name(self._hide(name))
        self._seen.setdefault(self._new[path], _Seen(None, None)).kinds.add(json_type(value))

    def _add_field(self, field: DeclaredField, given: dict[str, Any], prefix: str) -> None:
        seen = self._note(field, prefix)
        only_for, kind = _ONLY_FOR.get((field.owner.__name__, field.name)), given.get("type")
        if only_for is not None and not (isinstance(kind, str) and kind.casefold() == only_for):
            return
        raw = given.get(field.name)
        if raw is None:
            seen.absent += 1
            return
        if not _is_readable(field, raw):
            seen.wrong.add(json_type(raw))
            return
        seen.good += 1
        if field.nested is not None:
            if isinstance(raw, list):
                self.add_items(field.nested, cast("list[object]", raw), f"{prefix}{field.name}[]")
            else:
                self.add(field.nested, raw, prefix + field.name)

    def findings(self) -> tuple[FieldFinding, ...]:
        """Return a finding for each field, in the order in which they were seen first."""
        found = [_conclude(path, seen) for path, seen in self._seen.items()]
        if self._has_more_new:
            found.append(FieldFinding(f"(more than {_MAX_NEW} new fields)", FieldStatus.NEW, None, None, "not listed"))
        return tuple(found)


def _is_readable(field: DeclaredField, raw: object) -> bool:
    """Return whether the library reads a value as the field's. Its own reader decides."""
    if field.owner is Page:
        return json_type(raw) == {"data": "array", "has_more": "boolean"}.get(field.name, "string")
    if field.nested is not None:
        return json_type(raw) == expected_type(field.hint)
    try:
        # Parsed exactly already, so the reader never asks for the body; what it notes is found here anyway.
        return field.name not in structure_value({field.name: raw}, b"", field.owner).extra
    except StructureError:
        return False
    finally:
        take_drift()


def _conclude(path: str, seen: _Seen) -> FieldFinding:
    if seen.expected is None:
        return FieldFinding(path, FieldStatus.NEW, None, None, " or ".join(sorted(seen.kinds)))
    if seen.wrong:
        found = " or ".join(sorted(seen.wrong))
        return FieldFinding(path, FieldStatus.CONTRADICTED, seen.mark, seen.expected, found)
    if seen.good:
        return FieldFinding(path, FieldStatus.CONFIRMED, seen.mark, seen.expected, None)
    if not seen.absent:
        return FieldFinding(path, FieldStatus.NOT_SEEN, seen.mark, seen.expected, None)
    status = FieldStatus.NOT_SEEN if seen.may_lack else FieldStatus.CONTRADICTED
    return FieldFinding(path, status, seen.mark, seen.expected, "missing")
