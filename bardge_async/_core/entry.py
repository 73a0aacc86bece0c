"""A journal's entry for an idempotency key, and the wall times that it has seen.

A key is identified by base URL, account label and key, never by the API key. Its entry goes from *sent* to *done* or
*refused*, or its outcome stays unknown; an entry that was never sent has no effect.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import attrs

from bardge_async._core.factories import compile_factory
from bardge_async._core.window import ClockReading, Peaks

__all__ = ["EntryState", "JournalEntry", "KeyIdentity", "RecordedResponse"]


_MAX_PEAKS: Final = 16
_MAX_BOOTS: Final = 4
_LOOKUP_TOKEN: Final = b'"lookup_token"'
"""Names a secret in a response, which is never stored."""
COMPETING_SECONDS: Final = 600.0
"""How long before a doubt's first send other entries may have left the evidence that it is judged by, in seconds."""


class EntryState(enum.StrEnum):
    """Show how far a key's operation has progressed."""

    INTENT = "intent"
    """Recorded, and certain not to have reached the server."""
    SENT = "sent"
    """Sent, without a recorded outcome: unknown, unless the call is still in flight."""
    DONE = "done"
    REFUSED = "refused"
    """The API refused it: nothing was charged."""


class KeyIdentity(NamedTuple):
    """Identify one key of one account at one server."""

    base_url: str
    account: str
    key: str


@attrs.frozen(weakref_slot=False)
class RecordedResponse:
    """Hold a recorded response; ``body`` is None once it was removed."""

    status: int
    body: bytes | None
    request_id: str | None


@attrs.frozen(weakref_slot=False)
class JournalEntry:
    """Hold what a journal knows about one key.

    ``given``: whether the caller chose the key. ``last_sent``: when it was last sent. In state *sent*, an ``answer`` is
    the server's own failure, after which it may have forgotten the key. ``fingerprint`` is empty if only the outcome
    was kept. ``key_honoured``: whether the first send relied on the server to honour the key; None if that is not on
    record.
    """

    identity: KeyIdentity
    endpoint: str
    url: str
    fingerprint: str
    body: bytes | None
    given: bool
    state: EntryState
    first_sent: ClockReading | None = None
    last_sent: ClockReading | None = None
    answer: RecordedResponse | None = None
    key_honoured: bool | None = None

    @property
    def keeps_bodies(self) -> bool:
        """Return whether bodies are of use once the operation is finished: no later call can present a generated key."""
        return self.given

    def for_storage(self) -> JournalEntry:
        """Return the entry as stores keep it: without the response body if its key was generated, or it holds a secret."""
        response = self.answer
        if self.state is EntryState.SENT or response is None or response.body is None:
            return self
        if self.keeps_bodies and _LOOKUP_TOKEN not in response.body:
            return self
        recorded = RecordedResponse(response.status, None, response.request_id)
        return self.with_state(self.state, self.first_sent, self.last_sent, recorded)

    def with_state(
        self,
        state: EntryState,
        first_sent: ClockReading | None,
        last_sent: ClockReading | None,
        answer: RecordedResponse | None,
    ) -> JournalEntry:
        """Return the entry in another state."""
        # Not attrs.evolve: it takes several times as long, and every call gets here.
        return make_entry(
            self.identity,
            self.endpoint,
            self.url,
            self.fingerprint,
            self.body,
            self.given,
            state,
            first_sent,
            last_sent,
            answer,
            self.key_honoured,
        )


make_recorded_response: Final = compile_factory(RecordedResponse)
make_entry: Final = compile_factory(JournalEntry)


class WallLog:
    """Remember the highest wall times read, so that each key's age can count those since its own first send.

    ``highest`` is the highest of all, in seconds; ``peaks`` holds those of the last boots. ``behind`` are the boots in
    which a wall time was below one of another boot: their clock may pass that one without being right.
    """

    __slots__ = ("behind", "highest", "peaks")

    def __init__(
        self, highest: float = 0.0, peaks: Mapping[str, Peaks] | None = None, behind: Iterable[str] = ()
    ) -> None:
        self.highest = highest
        self.behind = set(behind)
        self.peaks: dict[str, Peaks] = {} if peaks is None else dict(peaks)

    def add(self, wall: float, elapsed: float, boot: str) -> Peaks:
        """Add a reading; return the peaks of its boot."""
        if wall > self.highest:
            self.highest = wall
        elif wall < self.highest and wall < self._highest_of_others(boot):
            self.behind.add(boot)
        known = self.peaks.get(boot)
        if known is not None and len(known) == 1 and known[0][1] <= wall and known[0][0] <= elapsed:
            self.peaks[boot] = rising = ((elapsed, wall),)
            return rising
        merged: Peaks = ((elapsed, wall),) if known is None else _merge_peaks((*known, (elapsed, wall)))
        self._set_peaks(boot, merged)
        return merged

    def merge(self, other: WallLog) -> None:
        """Add the readings of another log."""
        self.highest = max(self.highest, other.highest)
        self.behind |= other.behind
        for boot, theirs in list(other.peaks.items()):
            mine = self.peaks.get(boot)
            if mine != theirs:
                self._set_peaks(boot, theirs if mine is None else _merge_peaks((*mine, *theirs)))

    def _highest_of_others(self, boot: str) -> float:
        known = self.peaks.get(boot)
        if known is None or known[0][1] < self.highest:
            return self.highest
        return max((peaks[0][1] for other, peaks in self.peaks.items() if other != boot), default=0.0)

    def _set_peaks(self, boot: str, peaks: Peaks) -> None:
        self.peaks[boot] = peaks
        if len(self.peaks) > _MAX_BOOTS:
            oldest = next(iter(self.peaks))
            del self.peaks[oldest]
            self.behind.discard(oldest)


def _merge_peaks(readings: Iterable[tuple[float, float]]) -> Peaks:
    """Return the readings that no later one exceeds."""
    kept: list[tuple[float, float]] = []
    for reading in sorted(readings, reverse=True):
        if not kept or reading[1] > kept[-1][1]:
            kept.append(reading)
    kept.reverse()
    while len(kept) > _MAX_PEAKS:
        # Joining two only makes keys sent between them older.
        at = min(range(len(kept) - 1), key=lambda n: kept[n][1] - kept[n + 1][1])
        kept[at : at + 2] = [(kept[at + 1][0], kept[at][1])]
    return tuple(kept)
