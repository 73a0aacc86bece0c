"""``bardge.classes``: methods for the endpoints named ``classes.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import GET_CLASS, LIST_CLASS_CATEGORIES, LIST_CLASSES
from bardge_async.models import ClassCategory, FitnessClass


class Classes(EndpointMethods):
    """Calls of ``bardge.classes``."""

    def list_categories(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[ClassCategory]:
        """Walk the categories of classes (path and paging inferred)."""
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_CLASS_CATEGORIES, options)

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[FitnessClass]:
        """Walk the classes (guide: Bookings)."""
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_CLASSES, options)

    async def get(self, class_id: str) -> FitnessClass:
        """Get a class with its instances (path inferred)."""
        return await self._caller.call(GET_CLASS, None, class_id)
