"""``bardge.access_codes``: the rows of the table that begin with ``access_codes.``."""

from __future__ import annotations

from bardge_async._resources.caller import Caller
from bardge_async.endpoints import GENERATE_ACCESS_CODE
from bardge_async.models import AccessCode, AccessCodeRequest


class AccessCodes:
    """Calls of ``bardge.access_codes``."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def generate(self, request: AccessCodeRequest, *, lookup_token: str | None = None) -> AccessCode:
        """Make a check-in code, good for one visit on its day (guide: Generate dynamic access code).

        ``lookup_token`` is that of a verified lookup, for another issuer's client.
        """
        return await self._caller.call(GENERATE_ACCESS_CODE, request, lookup_token=lookup_token)
