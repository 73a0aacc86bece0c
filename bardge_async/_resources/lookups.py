"""``bardge.lookups``: the rows of the table that begin with ``lookups.``."""

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
            limit: Items in all; None for the whole list.
            page_size: Items per request, 1 to 100.
            starting_after: Begin after the item with this id.
            ending_before: Walk backward from the item with this id, which is not delivered: the nearest item first.
            read_ahead: Pages asked for while you work on one, 0 to 4.
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
        """Ask an issuer's client for a code; no key protects this call (guide: Initiate a lookup)."""
        return await self._caller.call(INITIATE_LOOKUP, request)

    async def verify(self, lookup_id: str, request: VerifyLookup) -> Lookup:
        """Hand in the client's code and get the lookup token, which no endpoint returns again (guide: Verify a lookup)."""
        return await self._caller.call(VERIFY_LOOKUP, request, lookup_id)
