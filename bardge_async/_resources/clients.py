"""``bardge.clients``: methods for the endpoints named ``clients.*``."""

from __future__ import annotations

from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import GET_CLIENT, GET_CLIENT_CREDITS
from bardge_async.models import Client, ClientCredits


class Clients(EndpointMethods):
    """Calls of ``bardge.clients``."""

    async def get(self, client_id: str) -> Client:
        """Get a client (path inferred)."""
        return await self._caller.call(GET_CLIENT, None, client_id)

    async def get_credits(self, client_id: str) -> ClientCredits:
        """Get a client's credit balance and recent movements, a list that may be cut (page: Get client credits)."""
        return await self._caller.call(GET_CLIENT_CREDITS, None, client_id)
