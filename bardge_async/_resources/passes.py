"""``bardge.passes``: methods for the endpoints named ``passes.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import Caller
from bardge_async.endpoints import GET_ISSUED_PASS, ISSUE_PASS, LIST_PASSES, UPDATE_EXPIRY, UPDATE_ISSUED_PASS
from bardge_async.models import IssuedPass, IssuedPassMessage, IssuePass, Pass, UpdateIssuedPass, UpdateIssuedPassExpiry


class Passes:
    """Calls of ``bardge.passes``."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[Pass]:
        """Walk the pass packages that you may issue, newest first (page: Get All Reseller Passes).

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
        return self._caller.walk(LIST_PASSES, span)

    async def issue(self, request: IssuePass) -> IssuedPass:
        """Issue a pass to a client; charges your account (guide: Issue a pass)."""
        return await self._caller.call(ISSUE_PASS, request)

    async def update(self, request: UpdateIssuedPass) -> IssuedPassMessage:
        """Change the holder's details on an issued pass (guide: Update user's pass)."""
        return await self._caller.call(UPDATE_ISSUED_PASS, request)

    async def update_expiry(self, client_id: str, request: UpdateIssuedPassExpiry) -> IssuedPassMessage:
        """Set the expiry day of a client's active issued pass (page: Update user's pass expiry)."""
        return await self._caller.call(UPDATE_EXPIRY, request, client_id)

    async def get_issued(self, client_id: str) -> IssuedPass:
        """Get a client's issued pass (path inferred: Get User Pass Details)."""
        return await self._caller.call(GET_ISSUED_PASS, None, client_id)
