"""``bardge.credits``: methods for the endpoints named ``credits.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import Caller
from bardge_async.endpoints import LIST_CREDIT_PACKAGES, PURCHASE_CREDITS
from bardge_async.models import CreditPackage, CreditPurchase, PurchaseCredits


class Credits:
    """Calls of ``bardge.credits``."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def purchase(self, request: PurchaseCredits) -> CreditPurchase:
        """Buy a client a credit package; charges your account, credits apply immediately (guide: Purchase credits)."""
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
        """Walk the credit packages that you may sell (guide: Get credit packages).

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
        return self._caller.walk(LIST_CREDIT_PACKAGES, span)
