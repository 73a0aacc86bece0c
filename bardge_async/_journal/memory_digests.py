"""Digests of finished keys: little more than the fact that a key was finished, for as long as it counts."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

import attrs

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity
from bardge_async._core.window import ClockReading

RETENTION_SECONDS: Final = 900.0
_GENERATION_SECONDS: Final = 60.0
_DIGEST_LENGTH: Final = 12
"""Bytes: among a million keys two share a digest with a probability of 10**-17."""
_GENERATED_LENGTH: Final = 32
"""Characters of a generated key, in hexadecimal."""


@attrs.define(eq=False)
class _Generation:
    """The digests added within one minute: their time is kept once, not for each of them."""

    started_at: float
    latest: float
    digests: set[bytes] = attrs.field(factory=set[bytes])


class KeyDigests:
    """Remember keys for 15 minutes after they were finished, in about 100 bytes each. Times are elapsed seconds."""

    def __init__(self) -> None:
        self.generations: deque[_Generation] = deque()

    def add_key(self, identity: tuple[str, ...], finished_at: float, *, generated: bool = False) -> None:
        """Remember a key; one that the client generated is 128 random bits, which need no digest."""
        generations = self.generations
        if not generations or finished_at - generations[-1].started_at >= _GENERATION_SECONDS:
            generations.append(_Generation(finished_at, finished_at))
        generation = generations[-1]
        if finished_at > generation.latest:  # noqa: PLR1730 - max() takes longer, and every POST gets here
            generation.latest = finished_at
        bits = _read_bits(identity[2]) if generated else None
        generation.digests.add(_compute_digest(identity) if bits is None else bits)

    def has_key(self, identity: KeyIdentity) -> bool:
        """Return whether a key is remembered."""
        if not self.generations:
            return False
        wanted = {_compute_digest(identity), _read_bits(identity.key)}
        return any(not generation.digests.isdisjoint(wanted) for generation in self.generations)

    def drop_expired(self, now: float) -> None:
        """Forget the keys that were finished more than 15 minutes ago, a minute's together."""
        while self.generations and now - self.generations[0].latest > RETENTION_SECONDS:
            self.generations.popleft()


def make_bare_entry(identity: KeyIdentity) -> JournalEntry:
    """Make the entry of a key of which only the digest was kept: it is done, and nothing else is known."""
    unknown = ClockReading(0.0, 0.0, 0.0)
    return JournalEntry(identity, "", "", "", None, True, EntryState.DONE, unknown, unknown)


def _read_bits(key: str) -> bytes | None:
    """Return the bits of a generated key; None if it is no such key."""
    if len(key) != _GENERATED_LENGTH:
        return None
    try:
        return bytes.fromhex(key)
    except ValueError:
        return None


def _compute_digest(identity: tuple[str, ...]) -> bytes:
    return hashlib.blake2b("\x00".join(identity).encode(), digest_size=_DIGEST_LENGTH).digest()
