"""``bardge.access_codes``: methods for the endpoints named ``access_codes.*``."""

from __future__ import annotations

from bardge_async._core.secret import hide_token
from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import GENERATE_ACCESS_CODE
from bardge_async.models import AccessCode, AccessCodeRequest


class AccessCodes(EndpointMethods):
    """Calls of ``bardge.access_codes``."""

    async def generate(self, request: AccessCodeRequest, *, lookup_token: str | None = None) -> AccessCode:
        """Generate a check-in code, valid for one visit on the day it is generated (guide: Access Codes).

        ``lookup_token`` comes from a verified lookup, for a client of another issuer.
        """
        lookup_token = hide_token(lookup_token)
        return await self._caller.call(GENERATE_ACCESS_CODE, request, lookup_token=lookup_token)
