"""Checks of a stored entry's values: a checksum proves that a row is whole, not that this library wrote it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bardge_async._core.entry import EntryState
from bardge_async._core.http import is_visible_ascii
from bardge_async._core.keys import MAX_KEY_LENGTH
from bardge_async.errors import JournalError

_LATEST: Final = 250_000_000_000.0
"""Unix time in the year 9892: what is added to it stays within ``datetime``."""
_STATES: Final = frozenset(state.value for state in EntryState)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_optional_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_optional_bytes(value: object) -> bool:
    return value is None or isinstance(value, bytes)


def _is_flag(value: object) -> bool:
    return isinstance(value, int) and value in (0, 1)


def _is_optional_status(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599)  # noqa: PLR2004


def _is_optional_time(value: object) -> bool:
    return value is None or (isinstance(value, float) and -_LATEST <= value <= _LATEST)


def _is_optional_number(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isfinite(value))


_FIELDS: Final[Mapping[str, Callable[[object], bool]]] = {
    "base_url": _is_text,
    "account": _is_text,
    "key": lambda value: is_visible_ascii(value, MAX_KEY_LENGTH),
    "endpoint": _is_text,
    "url": _is_text,
    "fingerprint": _is_text,
    "body": _is_optional_bytes,
    "given": _is_flag,
    "state": lambda value: isinstance(value, str) and value in _STATES,
    "first_wall": _is_optional_time,
    "first_elapsed": _is_optional_number,
    "first_highest": _is_optional_time,
    "first_boot": _is_optional_text,
    "last_wall": _is_optional_time,
    "last_elapsed": _is_optional_number,
    "last_highest": _is_optional_time,
    "last_boot": _is_optional_text,
    "status": _is_optional_status,
    "answer": _is_optional_bytes,
    "request_id": _is_optional_text,
}


def check_stored_values(row: Sequence[Any], first_server: object, key_honoured: object) -> None:
    """Check the columns of an entry, in the order that all stores share; the last two stand elsewhere.

    Raises:
        JournalError: A value has a wrong type or range, or contradicts the entry's state.
    """
    for (name, is_valid), value in zip(_FIELDS.items(), row, strict=False):
        if not is_valid(value):
            raise _value_error(row, name, value)
    if not _is_optional_time(first_server):
        raise _value_error(row, "first_server", first_server)
    if key_honoured is not None and not _is_flag(key_honoured):
        raise _value_error(row, "key_honoured", key_honoured)
    readings = row[9:13], row[13:17]
    for name, reading in zip(("first_boot", "last_boot"), readings, strict=True):
        if len({value is None for value in reading}) > 1:
            raise _value_error(row, name, reading[3])
    if row[8] == EntryState.DONE and (row[9] is None or row[13] is None):
        # Without a first send it would pass for never sent, and be sent again.
        raise _value_error(row, "state", row[8])


def _value_error(row: Sequence[Any], name: str, value: object) -> JournalError:
    return JournalError(
        f"the journal is damaged: the entry of key {row[2]!r:.80} has an impossible {name}: {value!r:.40}; "
        "restore the journal from a backup"
    )
