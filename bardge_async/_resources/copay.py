"""``bardge.copay``: methods for the endpoints named ``copay.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import (
    LIST_GYM_COPAY_OPTIONS,
    PURCHASE_COPAY_PACKAGE,
    PURCHASE_GYM_COPAY,
    PURCHASE_SPA_COPAY,
    QUOTE_SPA_COPAY,
)
from bardge_async.models import (
    CopayOption,
    CopayPurchase,
    GymCopayPurchase,
    PurchaseCopayPackage,
    PurchaseGymCopay,
    PurchaseSpaCopay,
    SpaCopayPurchase,
    SpaCopayQuote,
    SpaCopayQuoteRequest,
)


class Copay(EndpointMethods):
    """Calls of ``bardge.copay``."""

    def list_gym_options(
        self,
        provider_branch_id: str,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[CopayOption]:
        """Walk the co-pay options of a gym branch (guide: Co-pay).

        Args:
            provider_branch_id: The branch's id.
        """
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_GYM_COPAY_OPTIONS, options, provider_branch_id)

    async def quote_spa(self, provider_id: str, request: SpaCopayQuoteRequest) -> SpaCopayQuote:
        """Get a real-time quote of what a client would pay at a spa, which may change (guide: Co-pay)."""
        return await self._caller.call(QUOTE_SPA_COPAY, request, provider_id)

    async def purchase_gym(self, request: PurchaseGymCopay) -> GymCopayPurchase:
        """Buy a gym's co-pay option (guide: Co-pay)."""
        return await self._caller.call(PURCHASE_GYM_COPAY, request)

    async def purchase_spa(self, request: PurchaseSpaCopay) -> SpaCopayPurchase:
        """Buy a quoted spa co-pay (guide: Co-pay)."""
        return await self._caller.call(PURCHASE_SPA_COPAY, request)

    async def purchase_package(self, request: PurchaseCopayPackage) -> CopayPurchase:
        """Buy a co-pay by option or quote; the guide asks for a key here (guide: Co-pay)."""
        return await self._caller.call(PURCHASE_COPAY_PACKAGE, request)
