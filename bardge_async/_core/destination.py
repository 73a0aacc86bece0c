"""Where a stored entry may be sent: a journal is data, and write access to it must not decide on a destination."""

from __future__ import annotations

from urllib.parse import unquote

from bardge_async._core.entry import JournalEntry
from bardge_async.errors import JournalError


def is_below(url: str, base_url: str) -> bool:
    """Return whether a URL lies below a base URL for every server and proxy, however they read its path."""
    prefix = base_url + "/"
    if not url.startswith(prefix) or not url.isascii() or not url.isprintable() or any(c in url for c in " #\\"):
        return False
    # Compare unquoted: a proxy may decode %2e%2e into a dot segment, or %2f into a slash.
    segments = unquote(url.removeprefix(prefix).partition("?")[0]).replace("\\", "/").split("/")
    return not any(segment in {".", ".."} for segment in segments)


def describe_foreign_url(entry: JournalEntry, base_url: str) -> str | None:
    """Return why an entry must not be sent, or None if its URL lies below the base URL."""
    if is_below(entry.url, base_url):
        return None
    return (
        f"the journal's entry of key {entry.identity.key!r:.80} names {entry.url!r:.120}, which is not below the base URL "
        f"{base_url}; it is left alone: find out who wrote it, and who else can write to the journal"
    )


def check_destination(entry: JournalEntry, base_url: str) -> None:
    """Check that an entry may be sent with this client's API key.

    Raises:
        JournalError: Its URL is not below the base URL.
    """
    problem = describe_foreign_url(entry, base_url)
    if problem is not None:
        raise JournalError(problem)
