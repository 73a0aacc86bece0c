"""The factories of the frozen values that every call creates."""

from __future__ import annotations

import pickle
from typing import Any, Final

import attrs
import pytest

from bardge_async import ClockReading, JournalEntry, RecordedResponse, WireRequest, WireResponse
from bardge_async._core.entry import EntryState, KeyIdentity, make_entry, make_recorded_response
from bardge_async._core.factories import compile_factory
from bardge_async._core.http import make_wire_request, make_wire_response
from bardge_async._core.window import make_reading

ENTRY = (KeyIdentity("https://api.example", "", "k"), "credits.purchase", "https://api.example/c", "", b"{}", True)


CASES: Final[list[tuple[Any, Any, tuple[object, ...]]]] = [
    (ClockReading, make_reading, (1.0, 2.0, 3.0)),
    (WireRequest, make_wire_request, ("GET", "https://api.example", {})),
    (WireResponse, make_wire_response, (200, {}, b"{}")),
    (RecordedResponse, make_recorded_response, (200, None, "req_1")),
    (JournalEntry, make_entry, (*ENTRY, EntryState.SENT)),
]


@pytest.mark.parametrize(("cls", "make", "arguments"), CASES)
def test_same_as_called(cls: Any, make: Any, arguments: tuple[object, ...]) -> None:
    """A factory's value equals that of its class, is as frozen, and survives pickle."""
    made = make(*arguments)
    assert type(made) is cls
    assert made == cls(*arguments)
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own bytes
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, attrs.fields(cls)[0].name, None)


def test_defaults() -> None:
    """A factory fills in the defaults of its class."""

    @attrs.frozen(weakref_slot=False)
    class Pair:
        left: int
        right: int = 2

    assert compile_factory(Pair)(1) == Pair(1, 2)
