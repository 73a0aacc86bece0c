"""Checksums: SQLite does not detect a page whose tail was lost; a checksum stored with the content does."""

from __future__ import annotations

import hashlib
from typing import Final

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
