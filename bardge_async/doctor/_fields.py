"""What a row's answers show of the fields that its models declare. Names and JSON types only, never a value."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import attrs

from bardge_async._core.converter import dump_json, structure_value
from bardge_async._core.scalars import StructureError
from bardge_async.doctor._findings import FieldFinding, FieldStatus, expected_type, json_type
from bardge_async.models import Mark, Page, Resource, Unset

_WIRE_NAMES: Final = {(Page, "items"): "data"}
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


def declared_fields(cls: type[Any]) -> list[DeclaredField]:
    """Return a model's fields as they appear in JSON."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found: list[DeclaredField] = []
    for attribute in attrs.fields(cls):
        if attribute.name == "extra" or (cls is Page and attribute.name == "request_id"):
            continue
        hint, marks = hints[attribute.name], getattr(hints[attribute.name], "__metadata__", ())
        mark = marks[0] if marks else Mark.PAGE
        plain = _strip_none(typing.get_args(hint)[0] if marks else hint)
        found.append(DeclaredField(cls, _WIRE_NAMES.get((cls, attribute.name), attribute.name), plain, mark))
    return found


def _strip_none(hint: Any) -> Any:  # noqa: ANN401 - any annotation
    if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
        return hint
    members = [member for member in typing.get_args(hint) if member not in (Unset, types.NoneType)]
    return members[0]


@attrs.define
class _Seen:
    """What was seen of one field."""

    field: DeclaredField | None
    good: int = 0
    absent: int = 0
    wrong: set[str] = attrs.field(factory=set[str])
    kinds: set[str] = attrs.field(factory=set[str])
    why: str = ""


class FieldSurvey:
    """Collect what answers show of the fields of a model and of the models in it."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def add(self, cls: type[Any], value: object, prefix: str = "") -> None:
        """Look at one object."""
        if not isinstance(value, dict):
            return
        given = cast("dict[str, Any]", value)
        fields = {field.name: field for field in declared_fields(cls)}
        for field in fields.values():
            self._add_field(field, given, prefix)
        for name in given.keys() - fields.keys():
            seen = self._seen.setdefault(prefix + name, _Seen(None))
            seen.kinds.add(json_type(given[name]))

    def _add_field(self, field: DeclaredField, given: dict[str, Any], prefix: str) -> None:
        only_for = _ONLY_FOR.get((field.owner.__name__, field.name))
        if only_for is not None and str(given.get("type")).casefold() != only_for:
            return
        seen = self._seen.setdefault(prefix + field.name, _Seen(field))
        raw = given.get(field.name)
        if raw is None:
            seen.absent += 1
            return
        why = _judge(field, raw)
        if why:
            seen.wrong.add(json_type(raw))
            seen.why = why
            return
        seen.good += 1
        if field.nested is not None:
            items: Iterable[Any] = raw if isinstance(raw, list) else (raw,)
            for item in items:
                self.add(field.nested, item, f"{prefix}{field.name}{'[]' if isinstance(raw, list) else ''}.")

    def findings(self) -> tuple[FieldFinding, ...]:
        """Return a finding for each field, in the order in which they were seen first."""
        return tuple(_conclude(path, seen) for path, seen in self._seen.items())


def _judge(field: DeclaredField, raw: object) -> str:
    """Return why the library does not read a value as the field's; empty if it does. The library's own reader decides."""
    if field.owner is Page:
        return _judge_page_field(field, raw)
    if field.nested is not None:
        wanted = "array" if typing.get_origin(field.hint) is tuple else "object"
        return "" if json_type(raw) == wanted else wanted
    document = {field.name: raw}
    try:
        left = structure_value(document, dump_json(document, field.name), field.owner).extra
    except StructureError:
        return expected_type(field.hint)
    return expected_type(field.hint) if field.name in left else ""


def _judge_page_field(field: DeclaredField, raw: object) -> str:
    wanted = {"data": "array", "has_more": "boolean"}.get(field.name, "string")
    return "" if json_type(raw) == wanted else wanted


def _conclude(path: str, seen: _Seen) -> FieldFinding:
    if seen.field is None:
        return FieldFinding(path, FieldStatus.NEW, None, None, " or ".join(sorted(seen.kinds)))
    mark, expected = seen.field.mark, expected_type(seen.field.hint)
    if seen.wrong:
        return FieldFinding(path, FieldStatus.CONTRADICTED, mark, seen.why, " or ".join(sorted(seen.wrong)))
    if seen.good:
        return FieldFinding(path, FieldStatus.CONFIRMED, mark, expected, None)
    lacking = mark is Mark.PAGE and (seen.field.owner.__name__, seen.field.name) not in _MAY_LACK
    return FieldFinding(path, FieldStatus.CONTRADICTED if lacking else FieldStatus.NOT_SEEN, mark, expected, "missing")
