"""One server, one identity: entries recorded under another spelling of their base URL."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from bardge_async._core.entry import EntryState, JournalEntry
from bardge_async._core.settings import normalize_base_url


def find_respelled(spellings: Iterable[str]) -> dict[str, str]:
    """Return the spellings to replace, and with what."""
    return {spelling: normal for spelling in spellings if (normal := normalize_base_url(spelling)) != spelling}


def respell_entry(entry: JournalEntry) -> JournalEntry:
    """Return an entry under the one spelling of its base URL.

    Its fingerprint contains the old spelling and, once the body is removed, cannot be computed again: it is kept, with
    the spelling.
    """
    old = entry.identity.base_url
    new = normalize_base_url(old)
    url = new + entry.url.removeprefix(old) if entry.url.startswith(old) else entry.url
    fingerprint = entry.fingerprint if "@" in entry.fingerprint else f"{entry.fingerprint}@{old}"
    return attrs.evolve(entry, identity=entry.identity._replace(base_url=new), url=url, fingerprint=fingerprint)


def choose_binding_entry(one: JournalEntry, other: JournalEntry) -> JournalEntry:
    """Return which of one key's two entries binds more: done, then in doubt, then refused.

    Of two in doubt it is the one that forbids more, then the one sent first, whose window ends first; of two others the
    one sent last, which the server remembers longer.
    """
    return max(one, other, key=_rank_entry)


_RANKS = {EntryState.DONE: 3, EntryState.SENT: 2, EntryState.REFUSED: 1, EntryState.INTENT: 0}


def _rank_entry(entry: JournalEntry) -> tuple[int, bool, float]:
    if entry.state is EntryState.SENT:
        first = entry.first_sent
        return _RANKS[entry.state], entry.answer is not None, 0.0 if first is None else -first.wall
    return _RANKS[entry.state], False, 0.0 if entry.last_sent is None else entry.last_sent.wall
