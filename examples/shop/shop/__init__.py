"""A shop that sells credits to its customers."""

from __future__ import annotations

from shop.checkout import Order, Receipt, Unsettled, check_out

__all__ = ["Order", "Receipt", "Unsettled", "check_out"]
