"""The numbers that users can set: their defaults and their ranges, as the documentation gives them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from bardge_async import (
    BardgeClient,
    PostgresJournal,
    ReplayWindow,
    RetryPolicy,
    SQLiteJournal,
    Timeouts,
    errors,
)

DAY = 86_400.0
# Class, field, default, least, most.
RANGES: list[tuple[type[Any], str, float, float, float]] = [
    (Timeouts, "total", 60, 0.001, DAY),
    (Timeouts, "attempt", 20, 0.001, DAY),
    (Timeouts, "connect", 5, 0.001, DAY),
    (Timeouts, "pool", 30, 0.001, DAY),
    (RetryPolicy, "max_attempts", 4, 1, 100),
    (RetryPolicy, "base", 0.25, 0.0, 60.0),
    (RetryPolicy, "cap", 8, 0.0, 3600.0),
    (RetryPolicy, "retry_after_cap", 60, 0.0, 3600.0),
    (RetryPolicy, "budget_ratio", 0.2, 0.0, 10.0),
    (RetryPolicy, "budget_floor", 10, 0.0, 100_000.0),
    (ReplayWindow, "length", 90, 0.1, DAY),
    (ReplayWindow, "margin", 10, 0.0, math.nextafter(DAY, 0)),
]
LIMITED_BY: dict[str, dict[str, float]] = {"length": {"margin": 0}, "margin": {"length": DAY}}
"""The margin must be smaller than the window."""
NAMES = [f"{cls.__name__}.{name}" for cls, name, *_ in RANGES]


def next_number(value: float, towards: float) -> float:
    """Return the closest number beyond an end of a range."""
    return value + int(math.copysign(1, towards)) if isinstance(value, int) else math.nextafter(value, towards)


def test_every_number() -> None:
    """The table below lacks no number that can be set."""
    classes = (Timeouts, RetryPolicy, ReplayWindow)
    numbers = [(cls, field.name) for cls in classes for field in attrs.fields(cls) if field.type not in {"bool", bool}]
    assert numbers == [(cls, name) for cls, name, *_ in RANGES]


@pytest.mark.parametrize(("cls", "name", "default", "least", "most"), RANGES, ids=NAMES)
def test_default(cls: Callable[..., Any], name: str, default: float, least: float, most: float) -> None:
    """A number that is not given has its documented default."""
    assert getattr(cls(), name) == default


@pytest.mark.parametrize(("cls", "name", "default", "least", "most"), RANGES, ids=NAMES)
def test_range(cls: Callable[..., Any], name: str, default: float, least: float, most: float) -> None:
    """Both ends of its range are accepted, and nothing beyond them."""
    others = LIMITED_BY.get(name, {})
    for accepted in (least, most):
        assert getattr(cls(**{name: accepted}, **others), name) == accepted
    for refused in (next_number(least, -math.inf), next_number(most, math.inf)):
        with pytest.raises(errors.ConfigurationError, match=name):
            cls(**{name: refused}, **others)


def test_range_of_connections() -> None:
    """A client takes from 1 to 100,000 connections."""
    for accepted in (1, 100_000):
        BardgeClient("key", "http://127.0.0.1:9", max_connections=accepted)
    for refused in (0, 100_001):
        with pytest.raises(errors.ConfigurationError, match="max_connections"):
            BardgeClient("key", "http://127.0.0.1:9", max_connections=refused)


JOURNALS: list[tuple[Callable[..., Any], str, float, float]] = [
    (SQLiteJournal, "keep_bodies", 30 * DAY, 0.0),
    (SQLiteJournal, "keep_entries", 400 * DAY, 0.0),
    (PostgresJournal, "lease", 15, 0.1),
    (PostgresJournal, "patience", 60, 0.0),
    (PostgresJournal, "keep_bodies", 30 * DAY, 0.0),
    (PostgresJournal, "keep_entries", 400 * DAY, 0.0),
]
"""Class, argument, default, least."""


@pytest.mark.parametrize(("make", "name", "default", "least"), JOURNALS)
def test_seconds_of_a_journal(
    tmp_path: Path, make: Callable[..., Any], name: str, default: float, least: float
) -> None:
    """A journal's durations have their documented defaults, and least values."""
    place = tmp_path / "journal.db" if make is SQLiteJournal else "postgresql://127.0.0.1:9/none"
    assert inspect.signature(make).parameters[name].default == default
    journal = make(place, **{name: least})
    if isinstance(journal, SQLiteJournal):
        journal.close()
    with pytest.raises(errors.ConfigurationError, match=name):
        make(place, **{name: next_number(least, -math.inf)})
