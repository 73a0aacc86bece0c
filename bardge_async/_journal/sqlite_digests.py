"""Seals: SQLite does not notice a lost tail of a page, a digest beside the content does."""

from __future__ import annotations

import hashlib
from typing import Final

from bardge_async.errors import JournalError

_CHECKSUM_LENGTH: Final = 8


def compute_checksum(content: bytes) -> bytes:
    """Return the digest of a content."""
    return hashlib.blake2b(content, digest_size=_CHECKSUM_LENGTH).digest()


def with_checksum(content: bytes | None) -> bytes | None:
    """Put its digest before a content."""
    return None if content is None else compute_checksum(content) + content


def verify_checksum(stored: bytes | None) -> bytes | None:
    """Return the content behind its digest.

    Raises:
        JournalError: They disagree.
    """
    if stored is None:
        return None
    content = stored[_CHECKSUM_LENGTH:]
    if compute_checksum(content) != stored[:_CHECKSUM_LENGTH]:
        raise corruption_error()
    return content


def corruption_error() -> JournalError:
    """Make the error for what does not fit its digest."""
    return JournalError("the journal is damaged: an entry does not fit its digest; restore the file from a backup")
