"""Many operations concurrently: bounded, rate-limited, and each under its own key, which outlives the process."""

from __future__ import annotations

from bardge_async._batch.batch import Batch
from bardge_async._batch.operations import BatchOptions, Operation, OperationOutcome, OperationStatus, Pace

__all__ = ["Batch", "BatchOptions", "Operation", "OperationOutcome", "OperationStatus", "Pace"]
