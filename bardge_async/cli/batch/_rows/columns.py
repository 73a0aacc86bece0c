"""What an endpoint takes, as columns: found in the row and its request class, read by the converter's own leaves."""

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
from bardge_async._core.request import Composer, segment
from bardge_async._core.scalars import StructureError, day, fault, flag, money, text, whole
from bardge_async.cli.batch._errors import UsageError
from bardge_async.cli.batch._rows.file import Report
from bardge_async.cli.batch._rows.reader import Line
from bardge_async.endpoints import ENDPOINTS, Endpoint, KeySupport
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import UNSET, Unset

_TOKEN: Final = "lookup_token"  # noqa: S105 - its name
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_WORDS: Final = {"true": True, "false": False}
_LONGEST_NUMBER: Final = 40
_ABSENT: Final = object()
_COMPOSER: Final = Composer("https://nowhere.invalid", {})
"""Makes calls that are checked and thrown away."""


def _number(cell: str) -> object:
    """Turn a cell into what JSON would hold; what is no number stays text, which the leaf refuses."""
    if len(cell) > _LONGEST_NUMBER or not _NUMBER.fullmatch(cell):
        return cell
    return Decimal(cell) if "." in cell else int(cell)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise fault("a list of texts", value)
    return tuple(map(text, cast("list[object]", value)))


@attrs.frozen
class _Kind:
    """How a value is read: a cell into a JSON value, and that by a leaf."""

    leaf: Callable[[object], object]
    cell: Callable[[str], object] = str


_KINDS: Final[dict[Any, _Kind]] = {
    str: _Kind(text),
    bool: _Kind(flag, lambda cell: _WORDS.get(cell.lower(), cell)),
    int: _Kind(whole, _number),
    Decimal: _Kind(money, _number),
    dt.date: _Kind(day),
    tuple[str, ...]: _Kind(_texts, lambda cell: [part.strip() for part in cell.split(";")]),
}


@attrs.frozen
class Field:
    """One value that an operation takes, and the column that it comes from."""

    name: str
    column: str
    kind: _Kind
    required: bool
    in_path: bool = False

    def take(self, line: Line, report: Report, *, typed: bool) -> object:
        """Read the value out of a row; what is wrong is reported."""
        raw = self._raw(line, typed=typed)
        if raw is _ABSENT or (self.required and raw in (None, "")):
            if self.required:
                report(line.number, self.column, "it is empty" if self.column in line.cells else "it is missing")
            return UNSET
        try:
            return None if raw is None else self._read(raw)
        except StructureError as error:
            report(line.number, self.column, error.faults[0][1])
        except InvalidArgumentError as error:
            report(line.number, self.column, str(error))
        return UNSET

    def _raw(self, line: Line, *, typed: bool) -> Any:  # noqa: ANN401 - any JSON value
        raw: object = line.cells.get(self.column, _ABSENT)
        if typed or raw is _ABSENT:
            return raw
        cell = cast("str", raw).strip()
        return self.kind.cell(cell) if cell else _ABSENT

    def _read(self, raw: object) -> object:
        value = self.kind.leaf(raw)
        if self.in_path:
            segment(self.name, value)
        return value


def keyed_rows() -> list[str]:
    """Name the endpoints that a batch can work with: those that take an idempotency key."""
    return [name for name, row in ENDPOINTS.items() if row.key is not KeySupport.NO]


def keyed_row(name: str) -> Endpoint[Any, Any]:
    """Return an endpoint by its name.

    Raises:
        UsageError: There is none that a batch can work with.
    """
    if name not in keyed_rows():
        raise UsageError(f"--op: no operation is named {name!r}.", "It is one of: " + ", ".join(keyed_rows()))
    return ENDPOINTS[name]


class Fields:
    """All values that an endpoint takes; ``maps`` gives the columns whose names are others."""

    def __init__(self, row: Endpoint[Any, Any], maps: Mapping[str, str]) -> None:
        self.row = row
        known = [*row.path_parameters, *_hints(row), *([_TOKEN] if row.lookup_token else [])]
        for name in maps:
            if name not in known:
                raise UsageError(f"--map: {row.name} has no field {name!r}.", "It is one of: " + ", ".join(known))
        self.path = [_field(name, str, maps, required=True, in_path=True) for name in row.path_parameters]
        required = _required(row)
        self.body = [_field(name, hint, maps, required=name in required) for name, hint in _hints(row).items()]
        self._token = [_field(_TOKEN, str, maps, required=False)] if row.lookup_token else []

    @property
    def all(self) -> list[Field]:
        """Path arguments first, then the request's fields."""
        return [*self.path, *self.body, *self._token]

    def used(self, columns: Iterable[str]) -> list[Field]:
        """Leave out what has no column."""
        known = set(columns)
        return [field for field in self.all if field.column in known]

    def operation(self, line: Line, id: str, report: Report, *, typed: bool) -> Operation[Any, Any] | None:
        """Make the operation of a row; None where its cells are wrong, which is reported."""
        faults: list[tuple[int | None, str | None, str]] = []

        def note(number: int | None, column: str | None, reason: str) -> None:
            faults.append((number, column, reason))
            report(number, column, reason)

        path = [cast("str", field.take(line, note, typed=typed)) for field in self.path]
        token = [cast("str", field.take(line, note, typed=typed) or None) for field in self._token]
        values = {field.name: field.take(line, note, typed=typed) for field in self.body}
        if faults:
            return None
        try:
            return Operation(self.row, *path, request=self._request(values), id=id, lookup_token=(*token, None)[0])
        except InvalidArgumentError as error:
            report(line.number, None, str(error))
            return None

    def _request(self, values: dict[str, object]) -> Any:  # noqa: ANN401 - of the row's request class
        if not self.row.takes_body:
            return None
        return self.row.request(**{name: value for name, value in values.items() if value is not UNSET})

    def check(self, operation: Operation[Any, Any], line: Line, report: Report) -> None:
        """Report what would keep an operation from being sent."""
        token = operation.lookup_token
        try:
            _COMPOSER.compose(self.row, operation.path, request=operation.request, key="k", lookup_token=token)
        except InvalidArgumentError as error:
            report(line.number, None, str(error))


def _field(name: str, hint: object, maps: Mapping[str, str], *, required: bool, in_path: bool = False) -> Field:
    return Field(name, maps.get(name, name), _KINDS[hint], required, in_path)


def _hints(row: Endpoint[Any, Any]) -> dict[str, Any]:
    """Read the request's fields and their types, without what stands for unset, null and the open enums' members."""
    if not row.takes_body:
        return {}
    hints = typing.get_type_hints(row.request)
    return {a.name: _type(hints[a.name]) for a in attrs.fields(row.request) if a.name != "extra"}


def _type(hint: Any) -> Any:  # noqa: ANN401 - any annotation
    if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
        return hint
    return next(member for member in typing.get_args(hint) if member is not Unset and member in _KINDS)


def _required(row: Endpoint[Any, Any]) -> set[str]:
    fields = attrs.fields(row.request) if row.takes_body else ()
    return {a.name for a in fields if a.default is attrs.NOTHING}
