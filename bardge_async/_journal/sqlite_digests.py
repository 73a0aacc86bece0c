"""Seals: SQLite does not notice a lost tail of a page, a digest beside the content does."""

from __future__ import annotations

import hashlib
from typing import Final

from bardge_async.errors import JournalError

_LENGTH: Final = 8


def digest(content: bytes) -> bytes:
    """Return the digest of a content."""
    return hashlib.blake2b(content, digest_size=_LENGTH).digest()


def sealed(content: bytes | None) -> bytes | None:
    """Put its digest before a content."""
    return None if content is None else digest(content) + content


def unsealed(stored: bytes | None) -> bytes | None:
    """Return the content behind its digest.

    Raises:
        JournalError: They disagree.
    """
    if stored is None:
        return None
    content = stored[_LENGTH:]
    if digest(content) != stored[:_LENGTH]:
        raise damaged()
    return content


def damaged() -> JournalError:
    """Make the error for what does not fit its digest."""
    return JournalError("the journal is damaged: an entry does not fit its digest; restore the file from a backup")
