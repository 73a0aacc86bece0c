"""Fields of a response that the models do not expect, noted while it is read.

Decoding knows class and field, its caller the endpoint. Nothing is noted as a rule, so asking costs one look at a dict.
"""

from __future__ import annotations

import threading
from typing import Final, TypeAlias

DriftNote: TypeAlias = tuple[str, str]
"""``Class.field``, and what is wrong with it: one of the two below."""

NEW: Final = "new"
CONTRADICTED: Final = "contradicted"
NOTED: Final[dict[int, dict[DriftNote, None]]] = {}
"""What was noted, by thread: loops in several threads decode at the same time."""
_MAX_NOTED: Final = 100
"""Per response: an object with ids for names would have thousands."""


def note_drift(owner: str, name: str, kind: str) -> None:
    """Note a field of the response that this thread is reading."""
    notes = NOTED.setdefault(threading.get_ident(), {})
    if len(notes) < _MAX_NOTED:
        notes[f"{owner}.{name}", kind] = None


def take_drift() -> tuple[DriftNote, ...]:
    """Return what was noted of the response that this thread has read, and forget it."""
    return tuple(NOTED.pop(threading.get_ident(), ()))
