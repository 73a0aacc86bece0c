"""``bardge.lookups``: methods for the endpoints named ``lookups.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import INITIATE_LOOKUP, LIST_ISSUERS, VERIFY_LOOKUP
from bardge_async.models import InitiateLookup, Issuer, Lookup, VerifyLookup


class Lookups(EndpointMethods):
    """Calls of ``bardge.lookups``."""

    def list_issuers(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[Issuer]:
        """Walk the issuers: resellers that have enabled third-party lookup on their account (guide: Lookup)."""
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_ISSUERS, options)

    async def initiate(self, request: InitiateLookup) -> Lookup:
        """Initiate a lookup of an issuer's client, who consents by passing the code on to you (guide: Lookup).

        Nothing shows that the server honours the key of this call.
        """
        return await self._caller.call(INITIATE_LOOKUP, request)

    async def verify(self, lookup_id: str, request: VerifyLookup) -> Lookup:
        """Verify the client's code and get the lookup token, which is never returned again (guide: Lookup).

        Nothing shows that the server honours the key of this call.
        """
        return await self._caller.call(VERIFY_LOOKUP, request, lookup_id)
