"""The memory journal computes a request's fingerprint when the entry is read."""

from __future__ import annotations

from typing import Final

import pytest

from bardge_async import ClockReading, EntryState, KeyIdentity, MemoryJournal, RecordedResponse
from bardge_async._core.custom_endpoints import custom_endpoint
from bardge_async._core.fingerprint import compute_fingerprint
from bardge_async._core.http import PreparedRequest
from bardge_async._core.replay import build_sent_entry
from bardge_async.endpoints import PURCHASE_CREDITS
from bardge_async.testing import ManualClock

BASE: Final = "https://api.example/v3"
NOW: Final = ClockReading(1.0, 1.0, 1.0)
ENDPOINTS: Final = [PURCHASE_CREDITS, custom_endpoint("PUT", "/charge", object, body=True, keyed=True)]
BODIES: Final = [b'{"amount":1.50}', b'{"note":"' + b"n" * 1000 + b'"}', None]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.method)
@pytest.mark.parametrize("body", BODIES, ids=["short", "long", "none"])
@pytest.mark.parametrize("given", [True, False], ids=["given", "generated"])
async def test_read_with_fingerprint(endpoint: object, body: bytes | None, *, given: bool) -> None:
    """An entry that was stored without a fingerprint is read with its request's, unfinished and finished."""
    journal, identity = MemoryJournal(), KeyIdentity(BASE, "", "order-1")
    request = PreparedRequest(endpoint, BASE + "/charge", body, {}, "order-1", given)  # type: ignore[arg-type]
    entry = build_sent_entry(identity, request, NOW, NOW, None, fingerprint="")
    journal.put_unfinished(entry)
    (doubt,) = await journal.unfinished(BASE, "")
    assert (doubt.fingerprint, doubt.body) == (compute_fingerprint(request), body)
    journal.put_finished(entry, EntryState.DONE, NOW, RecordedResponse(200, b"{}", "req_1"))
    done = await journal.claim(identity, 0.0, ManualClock())
    assert done is not None
    assert (done.fingerprint, done.body) == (compute_fingerprint(request), body if given else None)
