"""What an examination found: frozen values that hold names and types, and never a value of an answer."""

from __future__ import annotations

import datetime as dt
import enum
import typing
from decimal import Decimal
from typing import Any, Final

import attrs

from bardge_async._core.http import escape_text
from bardge_async._core.scalars import TextNumber
from bardge_async.models import Mark

_EXPECTED: Final[dict[Any, str]] = {
    str: "string",
    bool: "boolean",
    int: "whole number",
    float: "number",
    Decimal: "number",
    dt.date: "string with a day",
    dt.datetime: "number since the epoch",
}


class FieldStatus(enum.StrEnum):
    """What answers show of a field."""

    CONFIRMED = "confirmed"
    """Seen with the expected type."""
    CONTRADICTED = "contradicted"
    """Seen with another type, or, for a field that the vendor's page shows, missing."""
    NOT_SEEN = "not seen"
    """A field that a guide names or that was inferred, and that no answer had: no contradiction."""
    NEW = "new"
    """A field that the library does not know, and keeps in ``extra``: no contradiction."""


class RowStatus(enum.StrEnum):
    """Whether an endpoint could be examined."""

    EXAMINED = "examined"
    NOT_EXAMINED = "not examined"
    """Nothing is known about it: ``reason`` says what was missing."""
    CONTRADICTED = "contradicted"
    """Its path does not exist, or its answer cannot be what the table says: ``reason`` says why."""


@attrs.frozen
class FieldFinding:
    """One field of an endpoint's answers.

    ``path`` leads to it, such as ``data[].price``. ``expected`` is None for a new field; ``found`` is the JSON type of a
    contradicted or new one, or "missing" if the objects that should have it do not; None if no such object was seen.
    """

    path: str
    status: FieldStatus
    mark: Mark | None
    expected: str | None
    found: str | None


@attrs.frozen
class RowFinding:
    """One endpoint; ``paging`` lists the rules of pagination that its answers broke."""

    endpoint: str
    path: str
    mark: Mark
    status: RowStatus
    reason: str | None = None
    fields: tuple[FieldFinding, ...] = ()
    paging: tuple[str, ...] = ()

    @property
    def path_missing(self) -> bool:
        """Whether the server does not know the path."""
        return self.status is RowStatus.CONTRADICTED and (self.reason or "").startswith(PATH_MISSING)

    @property
    def answered(self) -> bool:
        """Whether the server answered as an API does: with JSON, right or wrong."""
        return self.status is not RowStatus.NOT_EXAMINED and not self.path_missing

    def excuse(self, reason: str) -> RowFinding:
        """Return the row as not examined, for another reason than its path."""
        return attrs.evolve(self, status=RowStatus.NOT_EXAMINED, reason=reason)

    @property
    def contradictions(self) -> tuple[str, ...]:
        """Return what contradicts the table, a line each."""
        own = (self.reason or "",) if self.status is RowStatus.CONTRADICTED else ()
        wrong = (found for found in self.fields if found.status is FieldStatus.CONTRADICTED)
        texts = (f"{found.path}: expected {found.expected}, found {found.found}" for found in wrong)
        return tuple(f"{self.endpoint}: {text}" for text in (*own, *texts, *self.paging))


@attrs.frozen
class Check:
    """One check of machine or account; ``ok`` is None where there was nothing to judge."""

    name: str
    ok: bool | None
    text: str


@attrs.frozen
class Examination:
    """What :func:`examine` found."""

    machine: tuple[Check, ...]
    account: Check
    rows: tuple[RowFinding, ...]

    @property
    def connected(self) -> bool:
        """Whether the server answered and accepted the API key."""
        return self.account.ok is True

    @property
    def contradictions(self) -> tuple[str, ...]:
        """Return all contradictions, a line each."""
        return tuple(text for row in self.rows for text in row.contradictions)

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options of ``BardgeClient`` that the findings call for, to be filled in and pasted."""
        return tuple(
            f'paths={{"{row.endpoint}": "/..."}}  # {row.path} does not exist: ask the vendor for the path'
            for row in self.rows
            if row.path_missing
        )


PATH_MISSING: Final = "the path does not exist"
_MAX_NAME_LENGTH: Final = 80


def show_name(name: str) -> str:
    """Return a name that a server chose, fit for terminals and pages: printable ASCII, and not endless."""
    text = escape_text(name[: 2 * _MAX_NAME_LENGTH])
    return text if len(text) <= _MAX_NAME_LENGTH else f"{text[: _MAX_NAME_LENGTH - 3]}..."


def expected_type(hint: Any) -> str:  # noqa: ANN401 - any annotation
    """Return the JSON type of a declared field, in words."""
    if hint in _EXPECTED:
        return _EXPECTED[hint]
    if typing.get_origin(hint) is tuple:
        return "array"
    return "string" if issubclass(hint, enum.StrEnum) else "object"


def json_type(value: object) -> str:
    """Return the JSON type of a value."""
    if isinstance(value, TextNumber):
        return "no JSON value"
    names = ((bool, "boolean"), (str, "string"), (int | float | Decimal, "number"), (list, "array"), (dict, "object"))
    return next((name for kind, name in names if isinstance(value, kind)), "null")
