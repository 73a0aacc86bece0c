"""Walks over paginated lists: honest ends, a place that survives, reading ahead."""

from __future__ import annotations

from bardge_async._pagination.options import LARGEST_PAGE, Source, Span
from bardge_async._pagination.walk import Walk

__all__ = ["LARGEST_PAGE", "Source", "Span", "Walk"]
