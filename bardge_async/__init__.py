"""Asyncio client for the Bardge Reseller API V3: nothing charged twice, nothing lost, nothing cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bardge_async import endpoints, errors, models
from bardge_async._calls.events import (
    AttemptEnded,
    AttemptStarted,
    DoubtOpened,
    DoubtResolved,
    DriftFound,
    Event,
    Hook,
    RetryScheduled,
    Throttled,
)
from bardge_async._calls.idempotency import IdempotentClient
from bardge_async._client import BardgeClient
from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.http import Response, WireRequest, WireResponse
from bardge_async._core.keys import operation_key
from bardge_async._core.settings import ReplayWindow, RetryPolicy, Timeouts
from bardge_async._core.window import ClockReading
from bardge_async._doubts.recovery import Doubt, DoubtVerdict, Finding, Recovered
from bardge_async._journal import Journal, MemoryJournal
from bardge_async._limits import Limiter
from bardge_async._network import AttemptLimits, Transport
from bardge_async._pagination import Walk
from bardge_async._runtime.clock import Clock, SystemClock, Timer
from bardge_async._version import __version__
from bardge_async.endpoints import *
from bardge_async.errors import *
from bardge_async.models import *

if TYPE_CHECKING:
    from bardge_async._batch import Batch, Operation, OperationOutcome, OperationStatus, Pace
    from bardge_async._journal import PostgresJournal, SQLiteJournal
    from bardge_async._limits import PostgresLimiter

__all__: list[str] = [
    "AttemptEnded",
    "AttemptLimits",
    "AttemptStarted",
    "BardgeClient",
    "Batch",
    "Clock",
    "ClockReading",
    "Doubt",
    "DoubtOpened",
    "DoubtResolved",
    "DoubtVerdict",
    "DriftFound",
    "EntryState",
    "Event",
    "Finding",
    "Hook",
    "IdempotentClient",
    "Journal",
    "JournalEntry",
    "KeyIdentity",
    "Limiter",
    "MemoryJournal",
    "Operation",
    "OperationOutcome",
    "OperationStatus",
    "Pace",
    "PostgresJournal",
    "PostgresLimiter",
    "RecordedResponse",
    "Recovered",
    "ReplayWindow",
    "Response",
    "RetryPolicy",
    "RetryScheduled",
    "SQLiteJournal",
    "SystemClock",
    "Throttled",
    "Timeouts",
    "Timer",
    "Transport",
    "Walk",
    "WireRequest",
    "WireResponse",
    "__version__",
    "operation_key",
]
__all__ += endpoints.__all__
__all__ += errors.__all__
__all__ += models.__all__


def __getattr__(name: str) -> object:
    """Import on demand what not every program needs: batches, and the SQLite and PostgreSQL stores."""
    if name in {"Batch", "Operation", "OperationOutcome", "OperationStatus", "Pace"}:
        from bardge_async import _batch  # noqa: PLC0415

        return getattr(_batch, name)
    if name in {"PostgresJournal", "SQLiteJournal"}:
        from bardge_async import _journal  # noqa: PLC0415

        return getattr(_journal, name)
    if name == "PostgresLimiter":
        from bardge_async import _limits  # noqa: PLC0415

        return _limits.PostgresLimiter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
