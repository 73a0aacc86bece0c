"""Estimate what a job costs, where the API has prices."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any, Final

import attrs

from bardge_async._client import BardgeClient
from bardge_async.cli.batch._errors import CommandError
from bardge_async.endpoints import PURCHASE_CREDITS, Endpoint
from bardge_async.errors import AuthenticationError, BardgeError, ConnectError, PermissionDeniedError

NOT_KNOWN: Final = "not known to the API client"
_MAX_SHOWN: Final = 5


@attrs.frozen
class Cost:
    """Totals by currency, in the vendor's exact numbers, or the reason why they are unknown."""

    totals: dict[str, Decimal] = attrs.Factory(dict[str, Decimal])
    unpriced: Counter[str] = attrs.Factory(Counter[str])
    unknown_reason: str = ""

    def format_lines(self) -> list[str]:
        """Return the cost as text."""
        if self.unknown_reason:
            return [self.unknown_reason]
        money = " + ".join(f"{amount:,f} {currency}".rstrip() for currency, amount in self.totals.items())
        lines = [f"{money}, by the packages' amounts (an inferred field)"] if money else [NOT_KNOWN]
        for package, rows in self.unpriced.most_common(_MAX_SHOWN):
            lines.append(f"{rows:,} of {package!r:.60}, for which the API gives no amount")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return the cost for JSON output; amounts are strings, so that they stay exact."""
        return {
            "totals": {currency: str(amount) for currency, amount in self.totals.items()},
            "without_amount": dict(self.unpriced),
            "unknown": self.unknown_reason or None,
            "inferred": True,
        }


def can_estimate_cost(endpoint: Endpoint[Any, Any]) -> bool:
    """Return whether the API has prices for an operation."""
    return endpoint.name == PURCHASE_CREDITS.name


async def estimate_cost(bardge: BardgeClient, packages: Counter[str], rows: int) -> Cost:
    """Fetch the packages' amounts and add them up.

    Raises:
        CommandError: The key is wrong, the account is disabled, or the server is unreachable.
    """
    if sum(packages.values()) != rows:
        return Cost(unknown_reason=f"{NOT_KNOWN}: too many different packages")
    try:
        known = {each.id: each async for each in bardge.credits.list_packages()}
    except (AuthenticationError, PermissionDeniedError) as error:
        raise CommandError(str(error), "Check the API key and the account.", request_id=error.request_id) from None
    except ConnectError as error:
        raise CommandError(f"{error}.", "Nothing was sent.") from None
    except BardgeError as error:
        return Cost(unknown_reason=f"{NOT_KNOWN}: {error}")
    totals: dict[str, Decimal] = {}
    unpriced: Counter[str] = Counter()
    for package, count in packages.items():
        found = known.get(package)
        if found is None or found.amount is None:
            unpriced[package] = count
        else:
            currency = found.currency or ""
            totals[currency] = totals.get(currency, Decimal(0)) + found.amount * count
    return Cost(totals, unpriced)
