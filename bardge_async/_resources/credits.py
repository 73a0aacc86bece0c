"""``bardge.credits``: methods for the endpoints named ``credits.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import LIST_CREDIT_PACKAGES, PURCHASE_CREDITS
from bardge_async.models import CreditPackage, CreditPurchase, PurchaseCredits


class Credits(EndpointMethods):
    """Calls of ``bardge.credits``."""

    async def purchase(self, request: PurchaseCredits) -> CreditPurchase:
        """Buy a client a credit package; the credits are added when it succeeds (guide: Credits).

        That your account pays is inferred.
        """
        return await self._caller.call(PURCHASE_CREDITS, request)

    def list_packages(
        self,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[CreditPackage]:
        """Walk the credit packages that a client can be bought (guide: Credits; fields inferred)."""
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_CREDIT_PACKAGES, options)
