"""Run by ``generated.py`` with the tool's interpreter: imports nothing of this project."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
import uuid
from typing import Any

PACKAGE = "bardge_reseller_api_client"
CLIENT = "client_abc123"


def call_operation(client: Any, name: str, *path: str, **given: Any) -> Any:
    """Call one operation through its generated module."""
    noun = name.partition(".")[0]
    module = importlib.import_module(
        f"{PACKAGE}.api.{'credits_' if noun == 'credits' else noun}.{name.replace('.', '_')}"
    )
    answer = module.sync_detailed(*path, client=client, **given)
    assert answer.status_code in (200, 201), answer
    assert answer.headers["Bardge-Request-Id"].startswith("req_")
    assert not answer.parsed.additional_properties, answer.parsed
    return answer


def main(base_url: str, api_key: str) -> None:
    """List, issue, move an expiry, and buy credits, twice under one key."""
    models: Any = importlib.import_module(f"{PACKAGE}.models")
    package: Any = importlib.import_module(PACKAGE)
    client = package.AuthenticatedClient(base_url=base_url, token=api_key)

    first = call_operation(client, "passes.list", limit=5).parsed
    more = call_operation(client, "passes.list", limit=5, starting_after=first.data[-1].id).parsed
    assert first.has_more
    assert not {item.id for item in first.data} & {item.id for item in more.data}
    print(f"listed {len(first.data)} and {len(more.data)} passes")  # noqa: T201

    wish = models.IssuePass(client_id="client_new", pass_id=first.data[0].id, first_name="Ada")
    issued = call_operation(client, "passes.issue", body=wish, idempotency_key=str(uuid.uuid4())).parsed
    print(f"issued {issued.id}")  # noqa: T201

    day = models.UpdateIssuedPassExpiry(expiry_date=dt.date(2031, 12, 31))
    moved = call_operation(
        client, "passes.update_expiry", "client_new", body=day, idempotency_key=str(uuid.uuid4())
    ).parsed
    held = call_operation(client, "passes.get_issued", "client_new").parsed
    assert dt.datetime.fromtimestamp(held.expires_at / 1000, dt.UTC).date() == dt.date(2031, 12, 31)
    print(moved.message)  # noqa: T201

    before = call_operation(client, "clients.get_credits", CLIENT).parsed.balance
    order, key = models.PurchaseCredits(client_id=CLIENT, package_id="cpkg_50"), str(uuid.uuid4())
    bought = [call_operation(client, "credits.purchase", body=order, idempotency_key=key) for _ in range(2)]
    after = call_operation(client, "clients.get_credits", CLIENT).parsed.balance
    assert bought[1].headers["X-Idempotent-Replayed"] == "true"
    assert after == bought[0].parsed.balance == before + bought[0].parsed.credits_
    print(f"bought credits once with two requests: {before} to {after}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
