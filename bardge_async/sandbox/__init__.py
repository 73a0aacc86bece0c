"""A stateful fake of the API, as a real HTTP server on loopback; no response is canned.

The initial data, and the ids to build on, are described in :mod:`bardge_async.sandbox.seed`.
"""

from __future__ import annotations

from bardge_async.sandbox._check_in import CheckIn
from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._drift import Drift, DriftKind
from bardge_async.sandbox._fault_plan import FaultPlan
from bardge_async.sandbox._faults import Fault, FaultKind
from bardge_async.sandbox._idempotency import KeptAnswer
from bardge_async.sandbox._ledger import LedgerEntry
from bardge_async.sandbox._request_log import RecordedRequest
from bardge_async.sandbox._sandbox import Sandbox, serve
from bardge_async.sandbox._settings import WindowFrom
from bardge_async.sandbox.behaviours import BEHAVIOURS

__all__ = [
    "BEHAVIOURS",
    "CheckIn",
    "Drift",
    "DriftKind",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "KeptAnswer",
    "LedgerEntry",
    "RecordedRequest",
    "Sandbox",
    "SandboxClock",
    "WindowFrom",
    "serve",
]
