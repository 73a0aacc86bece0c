"""``bardge.passes``: methods for the endpoints named ``passes.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import GET_ISSUED_PASS, ISSUE_PASS, LIST_PASSES, UPDATE_EXPIRY, UPDATE_ISSUED_PASS
from bardge_async.models import IssuedPass, IssuedPassMessage, IssuePass, Pass, UpdateIssuedPass, UpdateIssuedPassExpiry


class Passes(EndpointMethods):
    """Calls of ``bardge.passes``."""

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[Pass]:
        """Walk the pass packages that you may issue, newest first (page: Get All Reseller Passes)."""
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_PASSES, options)

    async def issue(self, request: IssuePass) -> IssuedPass:
        """Issue a pass to a client (guide: Passes).

        That your account is charged is inferred, and so are all fields of the request.
        """
        return await self._caller.call(ISSUE_PASS, request)

    async def update(self, request: UpdateIssuedPass) -> IssuedPassMessage:
        """Change the holder's details on an issued pass (guide: Passes; all fields of the request are inferred)."""
        return await self._caller.call(UPDATE_ISSUED_PASS, request)

    async def update_expiry(self, client_id: str, request: UpdateIssuedPassExpiry) -> IssuedPassMessage:
        """Set the expiry day of a client's active issued pass (page: Update user's pass expiry)."""
        return await self._caller.call(UPDATE_EXPIRY, request, client_id)

    async def get_issued(self, client_id: str) -> IssuedPass:
        """Get a client's issued pass (path inferred)."""
        return await self._caller.call(GET_ISSUED_PASS, None, client_id)
