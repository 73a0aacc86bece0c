"""Streams of entries, read a page at a time: between two pages no cursor and no transaction is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Final, TypeVar

from bardge_async._core.entry import JournalEntry

PAGE_ROWS: Final = 100
PAGE_BYTES: Final = 1024 * 1024
"""A page ends with the entry whose bodies exceed this."""

Item = TypeVar("Item")
Position = TypeVar("Position")


async def stream_pages(
    start: Position, read_page: Callable[[Position], Awaitable[tuple[list[JournalEntry], Position | None]]]
) -> AsyncGenerator[JournalEntry]:
    """Yield the entries of all pages; ``read_page`` returns the page after a position and its end, None after the last."""
    position: Position | None = start
    while position is not None:
        entries, position = await read_page(position)
        for entry in entries:
            yield entry


def take_page(rows: Iterable[tuple[Position, JournalEntry]]) -> tuple[list[JournalEntry], Position | None]:
    """Take the entries that a page has room for, at least one; return them and the last one's position."""
    page: list[JournalEntry] = []
    size, end = 0, None
    for position, entry in rows:
        page.append(entry)
        end = position
        size += len(entry.body or b"") + len((entry.answer and entry.answer.body) or b"")
        if size > PAGE_BYTES or len(page) == PAGE_ROWS:
            break
    return page, end


async def take_turns(items: Iterable[Item]) -> AsyncGenerator[Item]:
    """Yield items, and let other tasks run after every page of them."""
    for number, item in enumerate(items):
        if number % PAGE_ROWS == 0:
            await asyncio.sleep(0)
        yield item
