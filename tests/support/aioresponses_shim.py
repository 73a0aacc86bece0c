"""Let aioresponses 0.7.9 work with aiohttp 3.14 and later.

It makes ``ClientResponse`` objects itself and does not know the argument ``stream_writer``, which aiohttp 3.14 asks
for; without the shim every mocked request fails with a TypeError. To go when aioresponses knows it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from aiohttp import ClientResponse
from aioresponses import aioresponses


class _Response(ClientResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"stream_writer": mock.Mock(output_size=0), **options})


@contextmanager
def mock_requests() -> Generator[aioresponses]:
    """Replace aiohttp's requests by prepared responses."""
    with mock.patch("aioresponses.core.ClientResponse", _Response), aioresponses() as answers:
        yield answers
