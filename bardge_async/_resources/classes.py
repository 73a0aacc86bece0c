"""``bardge.classes``: methods for the endpoints named ``classes.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import Caller
from bardge_async.endpoints import GET_CLASS, LIST_CLASS_CATEGORIES, LIST_CLASSES
from bardge_async.models import ClassCategory, FitnessClass


class Classes:
    """Calls of ``bardge.classes``."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list_categories(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[ClassCategory]:
        """Walk the categories of classes (path inferred: Get class categories).

        Args:
            limit: Maximum number of items; None for the whole list.
            page_size: Items per request, 1 to 100.
            starting_after: Start after the item with this id.
            ending_before: Walk backward from the item with this id, nearest item first; the item itself is excluded.
            read_ahead: Pages fetched ahead while you process one, 0 to 4.
        """
        span = WalkOptions(
            limit=limit,
            page_size=page_size,
            starting_after=starting_after,
            ending_before=ending_before,
            read_ahead=read_ahead,
        )
        return self._caller.walk(LIST_CLASS_CATEGORIES, span)

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[FitnessClass]:
        """Walk the classes (guide: Get classes).

        Args:
            limit: Maximum number of items; None for the whole list.
            page_size: Items per request, 1 to 100.
            starting_after: Start after the item with this id.
            ending_before: Walk backward from the item with this id, nearest item first; the item itself is excluded.
            read_ahead: Pages fetched ahead while you process one, 0 to 4.
        """
        span = WalkOptions(
            limit=limit,
            page_size=page_size,
            starting_after=starting_after,
            ending_before=ending_before,
            read_ahead=read_ahead,
        )
        return self._caller.walk(LIST_CLASSES, span)

    async def get(self, class_id: str) -> FitnessClass:
        """Get a class with its instances (path inferred: Get class with instances)."""
        return await self._caller.call(GET_CLASS, None, class_id)
