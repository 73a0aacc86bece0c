"""Which requests and answers name a client: see also tests/journal/test_erase.py, over all stores."""

from __future__ import annotations

from typing import Any

import pytest

from bardge_async import errors
from bardge_async._core.erasure import ClientMatcher

BASE = "https://api.example/v3"


@pytest.mark.parametrize("client_id", ["", None, 7, b"client_1"])
def test_no_id(client_id: Any) -> None:
    """An empty id, which would be in everything, and what is no text are refused."""
    with pytest.raises(errors.InvalidArgumentError, match="client_id"):
        ClientMatcher(client_id)


@pytest.mark.parametrize("tail", ['","x":"', "", "\\", '\\"', '"' * 5])
def test_cut_json(tail: str) -> None:
    """JSON that is cut off matches by its complete strings only: what is missing may continue the id."""
    content = f'{{"id":"client_1{tail}'.encode()
    assert ClientMatcher("client_1").matches(BASE, f"{BASE}/p", content) is tail.startswith('"')


def test_many_quotes() -> None:
    """Content made of quotes and backslashes takes time in proportion to its length."""
    content = b'"' + b'\\"' * 500_000
    assert not ClientMatcher("client_1").matches(BASE, f"{BASE}/p", content)


def test_deeply_nested() -> None:
    """Content may be nested deeper than a JSON parser goes."""
    content = b"[" * 100_000 + b'"client_1"' + b"]" * 100_000
    assert ClientMatcher("client_1").matches(BASE, f"{BASE}/p", content)
