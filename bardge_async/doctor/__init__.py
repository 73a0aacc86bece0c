"""Find out with your own key which inferred facts about the API are true: ``await examine(client)``. GETs only."""

from __future__ import annotations

from bardge_async.doctor._examine import examine
from bardge_async.doctor._findings import (
    Check,
    Examination,
    FieldFinding,
    FieldStatus,
    RowFinding,
    RowStatus,
)

__all__ = ["Check", "Examination", "FieldFinding", "FieldStatus", "RowFinding", "RowStatus", "examine"]
