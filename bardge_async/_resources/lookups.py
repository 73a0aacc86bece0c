"""``bardge.lookups``: methods for the endpoints named ``lookups.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import Caller
from bardge_async.endpoints import INITIATE_LOOKUP, LIST_ISSUERS, VERIFY_LOOKUP
from bardge_async.models import InitiateLookup, Issuer, Lookup, VerifyLookup


class Lookups:
    """Calls of ``bardge.lookups``."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list_issuers(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[Issuer]:
        """Walk the issuers whose clients can be looked up (guide: Get issuers).

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
        return self._caller.walk(LIST_ISSUERS, span)

    async def initiate(self, request: InitiateLookup) -> Lookup:
        """Have a code sent to an issuer's client; no key protects this call (guide: Initiate a lookup)."""
        return await self._caller.call(INITIATE_LOOKUP, request)

    async def verify(self, lookup_id: str, request: VerifyLookup) -> Lookup:
        """Verify the client's code and get the lookup token, which is never returned again (guide: Verify a lookup)."""
        return await self._caller.call(VERIFY_LOOKUP, request, lookup_id)
