"""Conversion between entries and the rows of the journal's file."""

from __future__ import annotations

from typing import Any, Final

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.window import ClockReading
from bardge_async._journal.sqlite_digests import compute_checksum, corruption_error, verify_checksum, with_checksum
from bardge_async._journal.stored_values import check_stored_values

COLUMNS: Final = (
    "base_url, account, key, endpoint, url, fingerprint, body, given, state, "
    "first_wall, first_elapsed, first_highest, first_boot, last_wall, last_elapsed, last_highest, last_boot, "
    "status, answer, request_id, seal, first_server, key_honoured"
)
CHECKSUM_INDEX: Final = 20


def entry_columns(entry: JournalEntry) -> tuple[Any, ...]:
    """Return an entry's row, with checksums."""
    first, last, response = entry.first_sent, entry.last_sent, entry.answer
    first_columns = _reading_columns(first)
    row = (
        *entry.identity,
        entry.endpoint,
        entry.url,
        entry.fingerprint,
        with_checksum(entry.body),
        int(entry.given),
        entry.state.value,
        *first_columns,
        *(first_columns if last is first else _reading_columns(last)),
        *(
            (response.status, with_checksum(response.body), response.request_id)
            if response is not None
            else (None, None, None)
        ),
    )
    server = None if first is None or first.server is None else float(first.server)
    honoured = None if entry.key_honoured is None else int(entry.key_honoured)
    return (*row, _compute_checksum(row, server, honoured), server, honoured)


def _compute_checksum(row: tuple[Any, ...], server: float | None, honoured: int | None) -> bytes:
    """Compute the checksum of an entry without its bodies, which have their own and may be removed."""
    # Equals repr((*row[:6], *row[7:18], row[19])), but formats the four floats once when both readings are the same.
    first = repr(row[9:13])[1:-1]
    last = first if row[13:17] == row[9:13] else repr(row[13:17])[1:-1]
    text = f"{repr(row[:6])[:-1]}, {row[7]!r}, {row[8]!r}, {first}, {last}, {row[17]!r}, {row[19]!r})"
    # Entries of earlier versions have neither, and keep their checksum.
    if server is not None:
        text += repr(server)
    if honoured is not None:
        text += f", {honoured}"
    return compute_checksum(text.encode())


def _reading_columns(reading: ClockReading | None) -> tuple[Any, ...]:
    if reading is None:
        return (None,) * 4
    return float(reading.wall), float(reading.elapsed), float(reading.highest), reading.boot


def parse_entry(row: tuple[Any, ...]) -> JournalEntry:
    """Parse a row, which may have more columns.

    Raises:
        JournalError: It does not match its checksums, or has values that cannot be.
    """
    if _compute_checksum(row[:20], *row[21:23]) != row[CHECKSUM_INDEX]:
        raise corruption_error()
    check_stored_values(row, *row[21:23])
    response = None if row[17] is None else RecordedResponse(row[17], verify_checksum(row[18]), row[19])
    return JournalEntry(
        identity=KeyIdentity(*row[:3]),
        endpoint=row[3],
        url=row[4],
        fingerprint=row[5],
        body=verify_checksum(row[6]),
        given=bool(row[7]),
        state=EntryState(row[8]),
        first_sent=_parse_reading(row[9:13], row[21]),
        last_sent=_parse_reading(row[13:17]),
        answer=response,
        key_honoured=None if row[22] is None else bool(row[22]),
    )


def _parse_reading(row: tuple[Any, ...], server: float | None = None) -> ClockReading | None:
    wall, elapsed, highest, boot = row
    return None if wall is None else ClockReading(wall, elapsed, highest, boot, server)
