"""Record the outcome of an answered call, whatever happens to its caller meanwhile."""

from __future__ import annotations

import logging
from typing import Final

import anyio

from bardge_async._calls.context import OperationProgress
from bardge_async._core.entry import JournalEntry
from bardge_async._journal import Journal
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async.errors import JournalError

_LOG: Final = logging.getLogger("bardge_async")
_LATE_WRITE_WAIT: Final = 1.0
"""Seconds for which a cancelled call waits for its outcome to be recorded; the journal goes on after that."""


async def put_outcome(journal: Journal, entry: JournalEntry, clock: Clock, progress: OperationProgress) -> None:
    """Store what the server has answered. If that fails it is logged, and the call returns the answer nevertheless."""
    try:
        await journal.put(entry)
    except anyio.get_cancelled_exc_class():
        # A cancellation must not leave an answered call in doubt; writing an entry twice is harmless.
        with anyio.CancelScope(shield=True):
            await put_cancelled_outcome(journal, entry, clock, progress)
        raise
    except JournalError as error:
        progress.recorded = False
        name, key = entry.endpoint, entry.identity.key
        _LOG.error("%s: cannot record the outcome of key %s in the journal: %s", name, key, error)


async def put_cancelled_outcome(
    journal: Journal, entry: JournalEntry, clock: Clock, progress: OperationProgress
) -> None:
    """Store an entry for a caller that gives up: a journal that can finish by itself is not waited for long."""
    put_later = getattr(journal, "put_later", None)
    if put_later is None:
        await put_outcome(journal, entry, clock, progress)
        return
    try:
        with TimeLimit(clock, _LATE_WRITE_WAIT):
            await put_later(entry)
            return
    except JournalError:
        # The journal has logged it.
        progress.recorded = False
        return
    progress.recorded = False
    _LOG.warning(
        "%s: cancelled before the outcome of key %s was recorded; the journal keeps trying, and until then the key is in "
        "doubt: %s",
        entry.endpoint,
        entry.identity.key,
        describe_outage(journal),
    )


def describe_outage(journal: Journal) -> str:
    """Return the cause for which a journal's writes wait, as far as it is known."""
    return getattr(journal, "outage", None) or "it has not answered"
