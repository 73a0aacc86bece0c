"""Keys made from the business id of an operation."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bardge_async import ISSUE_PASS, PURCHASE_CREDITS, errors, operation_key
from bardge_async._core.keys import check_key

PINNED = "op1_baafaa38626f9973b441ca517dfdd896228432d1"
texts = st.text(min_size=1, max_size=8)


def test_form_is_fixed() -> None:
    """The same three texts give this very key, in every version: another one would charge again."""
    assert operation_key("renewals-2026-11", "credits.purchase", "order-8731") == PINNED


def test_same_key_in_another_run() -> None:
    """Two calls give the same key."""
    assert operation_key("n", "k", "1") == operation_key("n", "k", "1")


def test_row_or_its_name() -> None:
    """An endpoint stands for its name."""
    assert operation_key("n", PURCHASE_CREDITS, "1") == operation_key("n", "credits.purchase", "1")
    assert operation_key("n", PURCHASE_CREDITS, "1") != operation_key("n", ISSUE_PASS, "1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b", "c"), ("b", "a", "c")),
        (("ab", "c", "d"), ("a", "bc", "d")),
        (("a", "bc", "d"), ("a", "b", "cd")),
        (("a:b", "c", "d"), ("a", "b:c", "d")),
        (("a\x00", "b", "c"), ("a", "\x00b", "c")),
        (("a", "b", "c"), ("a", "b", "c ")),
        (("a", "b", "c"), ("A", "b", "c")),
        (("a", "b", "\u00e9"), ("a", "b", "e\u0301")),
    ],
)
def test_different_texts(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """No two different triples are joined into one key."""
    assert operation_key(*one) != operation_key(*other)


@given(st.tuples(texts, texts, texts), st.tuples(texts, texts, texts))
@settings(max_examples=200, deadline=None)
def test_one_key_for_one_triple(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Two triples have one key only if they are equal."""
    assert (operation_key(*one) == operation_key(*other)) == (one == other)


@given(texts, texts, texts)
@settings(max_examples=200, deadline=None)
def test_always_a_key(namespace: str, kind: str, business_id: str) -> None:
    """Whatever the texts are, the key reaches the server unchanged, and shows nothing of them."""
    key = operation_key(namespace, kind, business_id)
    assert check_key(key) == key
    assert set(key.removeprefix("op1_")) <= set(string.hexdigits.lower())
    assert len(key) == 44


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("wrong", ["", None, 7, b"x", "\ud800", ["a"]])
def test_refused_parts(place: int, wrong: Any) -> None:
    """A part that is not text, or empty, is rejected: it is usually a variable that was never set."""
    parts: list[Any] = ["n", "k", "1"]
    parts[place] = wrong
    with pytest.raises(errors.InvalidArgumentError, match=("namespace", "kind", "business_id")[place]):
        operation_key(*parts)


def test_long_parts() -> None:
    """Parts may be longer than a key."""
    assert check_key(operation_key("n" * 1000, "k", "1" * 10_000))
