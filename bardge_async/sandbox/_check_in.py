"""A visit at a gym, which no endpoint reports: it uses up an access code, or takes credits (guide: Credits)."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Final, Literal

import attrs

from bardge_async._core.arguments import check_text
from bardge_async.errors import InvalidArgumentError
from bardge_async.sandbox._errors import ErrorAnswer
from bardge_async.sandbox._formats import SECOND
from bardge_async.sandbox._ledger import spend_credits
from bardge_async.sandbox._request import Reseller
from bardge_async.sandbox._store import Row, Store

# Hundredths of a credit, by the gym's tier: the sandbox's choice.
_PRICES: Final = {"STANDARD": 500, "PREMIUM": 1_000}


@attrs.frozen
class CheckIn:
    """A visit at a gym; ``credits`` is what it cost, 0 with an access code; ``timestamp`` is an aware UTC instant."""

    client_id: str
    provider_id: str
    paid_with: Literal["access_code", "credits"]
    credits: Decimal
    timestamp: dt.datetime


@attrs.frozen
class _Visit:
    """What the ledger needs to know of a movement that no request causes."""

    store: Store
    reseller: Reseller
    now_ms: int
    idempotency_key: None = None


def check_in(store: Store, reseller: Reseller, client: Row, provider_id: str, now: dt.datetime) -> CheckIn:
    """Log a visit: with the client's access code for this gym or any, else for credits.

    Raises:
        InvalidArgumentError: No gym has that id, or the client has neither a valid code nor enough credits.
    """
    check_text("provider_id", provider_id)
    gym = store.fetch_one("SELECT * FROM providers WHERE id = ? AND category = 'GYM'", provider_id)
    if gym is None:
        raise InvalidArgumentError(f"provider_id: no gym has the id {provider_id!r:.80}")
    visit = _Visit(store, reseller, int(now.timestamp() * SECOND))
    with store.transaction():
        if _use_code(visit, client, gym):
            return CheckIn(client["id"], provider_id, "access_code", Decimal(0), now)
        price = _PRICES[gym["tier"]]
        try:
            spend_credits(visit, client, price, f"Gym check-in — {gym['name']}")
        except ErrorAnswer as error:
            raise InvalidArgumentError(f"{error.message}, and no access code is valid here") from None
        return CheckIn(client["id"], provider_id, "credits", Decimal(price) / 100, now)


def _use_code(visit: _Visit, client: Row, gym: Row) -> bool:
    sql = (
        "UPDATE access_codes SET used_at = ? WHERE code = (SELECT code FROM access_codes WHERE client = ? AND used_at IS NULL "
        "AND expires_at > ? AND coalesce(provider, ?) = ? ORDER BY provider IS NULL, expires_at LIMIT 1)"
    )
    now, seq = visit.now_ms, gym["seq"]
    return bool(visit.store.execute(sql, now, client["seq"], now, seq, seq))
