"""Digests of finished keys: little more than the fact that a key was finished, for as long as it counts."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

import attrs

from bardge_async._core.entry import KeyIdentity

RETENTION_SECONDS: Final = 900.0
_GENERATION_SECONDS: Final = 60.0
_DIGEST_LENGTH: Final = 12
"""Bytes: among a million keys two share a digest with a probability of 10**-17."""


@attrs.define(eq=False)
class _Generation:
    """The digests added within one minute: their time is kept once, not for each of them."""

    started_at: float
    latest: float
    digests: set[bytes] = attrs.field(factory=set[bytes])


class KeyDigests:
    """Remember keys for 15 minutes after they were finished, in about 100 bytes each. Times are elapsed seconds."""

    def __init__(self) -> None:
        self._generations: deque[_Generation] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether no key is remembered."""
        return not self._generations

    def add_key(self, identity: tuple[str, ...], finished_at: float) -> None:
        """Remember a key."""
        generations = self._generations
        if not generations or finished_at - generations[-1].started_at >= _GENERATION_SECONDS:
            generations.append(_Generation(finished_at, finished_at))
        generation = generations[-1]
        generation.latest = max(generation.latest, finished_at)
        generation.digests.add(_compute_digest(identity))

    def has_key(self, identity: KeyIdentity) -> bool:
        """Return whether a key is remembered."""
        if not self._generations:
            return False
        digest = _compute_digest(identity)
        return any(digest in generation.digests for generation in self._generations)

    def drop_expired(self, now: float) -> None:
        """Forget the keys that were finished more than 15 minutes ago, a minute's together."""
        while self._generations and now - self._generations[0].latest > RETENTION_SECONDS:
            self._generations.popleft()


def _compute_digest(identity: tuple[str, ...]) -> bytes:
    return hashlib.blake2b("\x00".join(identity).encode(), digest_size=_DIGEST_LENGTH).digest()
