"""Walks over paginated lists: a reliable end, a resumable position, read-ahead."""

from __future__ import annotations

from bardge_async._pagination.options import MAX_PAGE_SIZE, PageSource, WalkOptions
from bardge_async._pagination.walk import Walk

__all__ = ["MAX_PAGE_SIZE", "PageSource", "Walk", "WalkOptions"]
