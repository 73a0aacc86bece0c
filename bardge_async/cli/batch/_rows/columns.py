"""An endpoint's parameters and request fields as columns, read by the converter's own scalar readers."""

from __future__ import annotations

import datetime as dt
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, cast

import attrs

from bardge_async._batch import Operation
from bardge_async._core.request import RequestBuilder, encode_segment
from bardge_async._core.scalars import StructureError, mismatch, read_bool, read_date, read_decimal, read_int, read_str
from bardge_async.cli.batch._errors import UsageError
from bardge_async.cli.batch._rows.file import ErrorReporter
from bardge_async.cli.batch._rows.reader import InputRow
from bardge_async.endpoints import ENDPOINTS, Endpoint
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import UNSET, Unset

_LOOKUP_TOKEN: Final = "lookup_token"  # noqa: S105 - its name
_NUMBER_PATTERN: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_BOOLEANS: Final = {"true": True, "false": False}
# int() of a long text is slow, and Python refuses more than 4,300 digits.
_MAX_NUMBER_LENGTH: Final = 40
_ABSENT: Final = object()
_BUILDER: Final = RequestBuilder("https://nowhere.invalid", {})
"""Builds requests that are only checked."""


def _parse_number(cell: str) -> object:
    """Parse a cell as JSON would; what is not a number stays text, which the scalar reader rejects."""
    if len(cell) > _MAX_NUMBER_LENGTH or not _NUMBER_PATTERN.fullmatch(cell):
        return cell
    return Decimal(cell) if "." in cell else int(cell)


def _read_strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise mismatch("a list of texts", value)
    return tuple(map(read_str, cast("list[object]", value)))


@attrs.frozen
class _ValueType:
    """How a value is read: ``parse_cell`` turns a cell into a JSON value, ``read`` converts that."""

    read: Callable[[object], object]
    parse_cell: Callable[[str], object] = str


_VALUE_TYPES: Final[dict[Any, _ValueType]] = {
    str: _ValueType(read_str),
    bool: _ValueType(read_bool, lambda cell: _BOOLEANS.get(cell.lower(), cell)),
    int: _ValueType(read_int, _parse_number),
    Decimal: _ValueType(read_decimal, _parse_number),
    dt.date: _ValueType(read_date),
    tuple[str, ...]: _ValueType(_read_strings, lambda cell: [part.strip() for part in cell.split(";")]),
}


@attrs.frozen
class InputField:
    """A value that an operation takes, and its column."""

    name: str
    column: str
    value_type: _ValueType
    required: bool
    in_path: bool = False

    def read_value(self, row: InputRow, report: ErrorReporter, *, typed: bool) -> object:
        """Read the value from a row; errors are reported."""
        raw = self._find_raw_value(row, typed=typed)
        if raw is _ABSENT or (self.required and raw in (None, "")):
            if self.required:
                report(row.line_number, self.column, "it is empty" if self.column in row.cells else "it is missing")
            return UNSET
        try:
            return None if raw is None else self._convert_value(raw)
        except StructureError as error:
            report(row.line_number, self.column, error.mismatches[0][1])
        except InvalidArgumentError as error:
            report(row.line_number, self.column, str(error))
        return UNSET

    def _find_raw_value(self, row: InputRow, *, typed: bool) -> Any:
        raw: object = row.cells.get(self.column, _ABSENT)
        if typed or raw is _ABSENT:
            return raw
        cell = cast("str", raw).strip()
        return self.value_type.parse_cell(cell) if cell else _ABSENT

    def _convert_value(self, raw: object) -> object:
        value = self.value_type.read(raw)
        if self.in_path:
            encode_segment(self.name, value)
        return value


def list_batch_endpoints() -> list[str]:
    """Return the names of the endpoints that a batch can use: those that take an idempotency key."""
    return [name for name, endpoint in ENDPOINTS.items() if endpoint.takes_key]


def find_batch_endpoint(name: str) -> Endpoint[Any, Any]:
    """Return an endpoint by its name.

    Raises:
        UsageError: There is no such endpoint, or a batch cannot use it.
    """
    if name not in list_batch_endpoints():
        raise UsageError(f"--op: no operation is named {name!r}.", "It is one of: " + ", ".join(list_batch_endpoints()))
    return ENDPOINTS[name]


class InputFields:
    """All values that an endpoint takes; ``maps`` gives columns with names other than the field's."""

    def __init__(self, endpoint: Endpoint[Any, Any], maps: Mapping[str, str]) -> None:
        self.endpoint = endpoint
        names = [
            *endpoint.path_parameters,
            *_read_field_types(endpoint),
            *([_LOOKUP_TOKEN] if endpoint.lookup_token else []),
        ]
        for name in maps:
            if name not in names:
                raise UsageError(f"--map: {endpoint.name} has no field {name!r}.", "It is one of: " + ", ".join(names))
        self.path = [_make_field(name, str, maps, required=True, in_path=True) for name in endpoint.path_parameters]
        required = _find_required(endpoint)
        self.body = [
            _make_field(name, hint, maps, required=name in required)
            for name, hint in _read_field_types(endpoint).items()
        ]
        self._token = [_make_field(_LOOKUP_TOKEN, str, maps, required=False)] if endpoint.lookup_token else []

    @property
    def all_fields(self) -> list[InputField]:
        """Path arguments first, then the request's fields."""
        return [*self.path, *self.body, *self._token]

    def select_used(self, columns: Iterable[str]) -> list[InputField]:
        """Return the fields that have a column."""
        known = set(columns)
        return [field for field in self.all_fields if field.column in known]

    def build_operation(
        self, row: InputRow, id: str, report: ErrorReporter, *, typed: bool
    ) -> Operation[Any, Any] | None:
        """Build the operation of a row; None if its cells are invalid, which is reported."""
        errors: list[tuple[int | None, str | None, str]] = []

        def record_error(line_number: int | None, column: str | None, reason: str) -> None:
            errors.append((line_number, column, reason))
            report(line_number, column, reason)

        path = [cast("str", field.read_value(row, record_error, typed=typed)) for field in self.path]
        token = [cast("str", field.read_value(row, record_error, typed=typed) or None) for field in self._token]
        values = {field.name: field.read_value(row, record_error, typed=typed) for field in self.body}
        if errors:
            return None
        try:
            return Operation(
                self.endpoint, *path, request=self._build_request(values), id=id, lookup_token=(*token, None)[0]
            )
        except InvalidArgumentError as error:
            report(row.line_number, None, str(error))
            return None

    def _build_request(self, values: dict[str, object]) -> Any:
        if not self.endpoint.takes_body:
            return None
        return self.endpoint.request(**{name: value for name, value in values.items() if value is not UNSET})

    def check_sendable(self, operation: Operation[Any, Any], row: InputRow, report: ErrorReporter) -> None:
        """Report what would prevent an operation from being sent."""
        token = operation.lookup_token
        try:
            _BUILDER.build(self.endpoint, operation.path, request=operation.request, key="k", lookup_token=token)
        except InvalidArgumentError as error:
            report(row.line_number, None, str(error))


def _make_field(
    name: str, annotation: object, maps: Mapping[str, str], *, required: bool, in_path: bool = False
) -> InputField:
    return InputField(name, maps.get(name, name), _VALUE_TYPES[annotation], required, in_path)


def _read_field_types(endpoint: Endpoint[Any, Any]) -> dict[str, Any]:
    """Return the request's fields with their types, without the alternatives for unset, null and enum members."""
    if not endpoint.takes_body:
        return {}
    annotations = typing.get_type_hints(endpoint.request)
    return {a.name: _resolve_type(annotations[a.name]) for a in attrs.fields(endpoint.request) if a.name != "extra"}


def _resolve_type(annotation: Any) -> Any:
    if typing.get_origin(annotation) not in {typing.Union, types.UnionType}:
        return annotation
    return next(member for member in typing.get_args(annotation) if member is not Unset and member in _VALUE_TYPES)


def _find_required(endpoint: Endpoint[Any, Any]) -> set[str]:
    fields = attrs.fields(endpoint.request) if endpoint.takes_body else ()
    return {a.name for a in fields if a.default is attrs.NOTHING}
