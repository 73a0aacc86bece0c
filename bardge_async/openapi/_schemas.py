"""Schemas of all models, read from the classes, so that a field is in both or in neither."""

from __future__ import annotations

import datetime as dt
import enum
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

import attrs

from bardge_async import models
from bardge_async.models import Body, Mark, Model, Page, Unset
from bardge_async.openapi._facts import ALWAYS_SENT, EXAMPLES, GUIDE_FIELDS, MILLISECONDS, NEVER_EMPTY, SECONDS
from bardge_async.openapi._texts import add_mark, to_markdown

JSON: TypeAlias = dict[str, Any]

_SCALARS: Final[dict[Any, JSON]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number", "format": "double"},
    Decimal: {"type": "number"},
    dt.date: {"type": "string", "format": "date"},
    # From the epoch to the last millisecond that a datetime can hold: Prism made up numbers that are no timestamps.
    dt.datetime: {"type": "integer", "format": "int64", "minimum": 0, "maximum": 253402300799999},
}
_OPEN_ENUM_NOTE: Final = "Not a closed list: other values are possible, and case differs between pages."
_MONEY_NOTE: Final = "Exactly the vendor's number; whether it is naira or kobo is not stated."
_WIRE_NAMES: Final = {"items": "data"}
"""Fields with another name in JSON."""


@attrs.frozen
class SchemaField:
    """One field of a model, as it appears in JSON."""

    owner: type[Any]
    name: str
    hint: Any
    mark: Mark
    required: bool
    nullable: bool

    @property
    def qualified_name(self) -> tuple[str, str]:
        """The class's name and the field's name."""
        return self.owner.__name__, self.name


def schema_reference(cls: type[Any]) -> JSON:
    """Build a reference to the schema of a class."""
    return {"$ref": f"#/components/schemas/{cls.__name__}"}


def page_name(item: type[Any]) -> str:
    """Return the name of the schema of one page of a list."""
    return f"{item.__name__}Page"


def find_references(value: object) -> set[str]:
    """Return the names of the schemas that a part of the document refers to."""
    if isinstance(value, list):
        return {name for item in cast("list[object]", value) for name in find_references(item)}
    if not isinstance(value, dict):
        return set()
    members = cast("JSON", value)
    target = members.get("$ref")
    own = {target.rpartition("/")[2]} if isinstance(target, str) else set[str]()
    return own | {name for item in members.values() for name in find_references(item)}


def list_classes() -> list[type[Any]]:
    """List all classes that describe a JSON object, by name, except the generic page: each item class has its own."""
    named = (getattr(models, name) for name in sorted(models.__all__))
    abstract = {Model, Body, models.Resource, Page}
    return [cls for cls in named if isinstance(cls, type) and issubclass(cls, Model) and cls not in abstract]


def read_fields(cls: type[Any]) -> Iterator[SchemaField]:
    """Yield a class's fields as they appear in JSON: without ``extra``, and without those read from a header."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for attribute in attrs.fields(cls):
        name: str = attribute.name
        hint = hints[name]
        if name == "extra" or (cls is Page and name == "request_id"):
            continue
        marks = getattr(hint, "__metadata__", ())
        inner = typing.get_args(hint)[0] if marks else hint
        required = attribute.default is attrs.NOTHING or (cls is Page and not marks)
        mark = marks[0] if marks else _request_mark(cls, name, required=required)
        yield SchemaField(cls, _WIRE_NAMES.get(name, name), inner, mark, required, _is_nullable(cls, inner))


def _request_mark(cls: type[Any], name: str, *, required: bool) -> Mark:
    mark: Mark = cls.mark
    guided = required or (cls.__name__, name) in GUIDE_FIELDS
    return Mark.INFERRED if mark is Mark.GUIDE and not guided else mark


def _is_nullable(cls: type[Any], hint: object) -> bool:
    """Return whether ``null`` is a value of the field: in requests it is; in responses, nothing shows one."""
    return issubclass(cls, Body) and types.NoneType in typing.get_args(hint)


def object_schema(cls: type[Any]) -> JSON:
    """Build the schema of a class."""
    found = list(read_fields(cls))
    made = _schema_head(cls) | {"properties": {field.name: property_schema(field) for field in found}}
    required = [field.name for field in found if field.required or field.qualified_name in ALWAYS_SENT]
    if required:
        made["required"] = required
    if cls.__name__ in NEVER_EMPTY:
        made["anyOf"] = [_require_value(name) for name in NEVER_EMPTY[cls.__name__]]
    return made


def page_schema(item: type[Any]) -> JSON:
    """Build the schema of one page of a list of ``item``."""
    made = object_schema(Page)
    made["description"] = f"One page of a list of {item.__name__}."
    made["properties"]["data"] = {"type": "array", "items": schema_reference(item), "x-bardge-mark": Mark.PAGE.value}
    return made


def _schema_head(cls: type[Any]) -> JSON:
    named = {"x-bardge-schema": cls.schema} if cls.schema else {}
    text = add_mark(to_markdown((cls.__doc__ or "").split("\n\n")[0]), cls.mark)
    return {"type": "object", "description": text, "x-bardge-mark": cls.mark.value, **named}


def property_schema(field: SchemaField) -> JSON:
    """Build the schema of one field."""
    plain = _without_none(field.hint)
    made = _type_schema(plain)
    notes = _field_notes(field, plain)
    examples = _field_examples(field, plain)
    # OpenAPI 3.1 has no `nullable`: null is one of the types.
    if field.nullable:
        made["type"] = [made["type"], "null"]
    text = add_mark(notes, field.mark)
    if text:
        made["description"] = text
    if examples:
        made["examples"] = examples
    return made | {"x-bardge-mark": field.mark.value}


def _without_none(hint: Any) -> Any:  # noqa: ANN401 - any annotation
    if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
        return hint
    members = [member for member in typing.get_args(hint) if member not in (Unset, types.NoneType)]
    return find_enum(members) or members[0]


def find_enum(members: list[Any]) -> type[enum.StrEnum] | None:
    """Return the enum among the members of a union, or None."""
    return next((m for m in members if isinstance(m, type) and issubclass(m, enum.StrEnum)), None)


def _type_schema(hint: Any) -> JSON:  # noqa: ANN401 - any annotation
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return {"type": "array", "items": {} if isinstance(item, typing.TypeVar) else _type_schema(item)}
    # No `enum` keyword: it would reject the values that are not known yet. The known ones become examples.
    if issubclass(hint, enum.StrEnum):
        return {"type": "string"}
    return schema_reference(hint)


def _field_notes(field: SchemaField, plain: Any) -> str:  # noqa: ANN401 - any annotation
    if plain is dt.datetime:
        return _describe_unit(field)
    if plain is Decimal:
        return _MONEY_NOTE
    return _OPEN_ENUM_NOTE if isinstance(plain, type) and issubclass(plain, enum.StrEnum) else ""


def _describe_unit(field: SchemaField) -> str:
    if field.qualified_name in SECONDS:
        return "Seconds since the epoch, UTC."
    if field.qualified_name in MILLISECONDS:
        return "Milliseconds since the epoch, UTC."
    return "Since the epoch, UTC; the unit is not shown: values from 10^11 are milliseconds, smaller ones seconds."


def _field_examples(field: SchemaField, plain: Any) -> list[Any]:  # noqa: ANN401 - any annotation
    shown = EXAMPLES.get(field.owner.__name__, {})
    examples = [shown[field.name]] if field.name in shown else []
    if isinstance(plain, type) and issubclass(plain, enum.StrEnum):
        seen = {str(value).casefold() for value in examples}
        examples += [member.value for member in plain if member.value.casefold() not in seen]
    return examples


def _require_value(name: str) -> JSON:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
