"""Checksums: SQLite does not detect a page whose tail was lost; a checksum stored with the content does."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from bardge_async.errors import JournalError

_CHECKSUM_LENGTH: Final = 8


def compute_checksum(content: bytes) -> bytes:
    """Compute the checksum of some content."""
    return hashlib.blake2b(content, digest_size=_CHECKSUM_LENGTH).digest()


def with_checksum(content: bytes | None) -> bytes | None:
    """Prefix content with its checksum."""
    return None if content is None else compute_checksum(content) + content


def verify_checksum(stored: bytes | None) -> bytes | None:
    """Return stored content without its checksum.

    Raises:
        JournalError: The checksum does not match.
    """
    if stored is None:
        return None
    content = stored[_CHECKSUM_LENGTH:]
    if compute_checksum(content) != stored[:_CHECKSUM_LENGTH]:
        raise corruption_error()
    return content


def corruption_error() -> JournalError:
    """Build the error for content that does not match its checksum."""
    return JournalError("the journal is damaged: an entry does not match its checksum; restore the file from a backup")


def compute_entry_checksum(row: tuple[Any, ...], server: float | None, honoured: int | None) -> bytes:
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
