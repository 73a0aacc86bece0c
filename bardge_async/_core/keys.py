"""Generate, derive and check idempotency keys."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Final

from bardge_async._core.http import is_visible_ascii
from bardge_async.endpoints import Endpoint
from bardge_async.errors import IdempotencyMisuseError, InvalidArgumentError

MAX_KEY_LENGTH: Final = 255
# Both are part of every derived key: changing them changes the keys, and a repeated operation charges again.
_PREFIX: Final = "op1_"
_DIGEST_LENGTH: Final = 40


def operation_key(namespace: str, kind: str | Endpoint[Any, Any], business_id: str) -> str:
    """Derive the idempotency key of one business operation; the same three arguments always give the same key.

    Never derive a key from a task id, an attempt number or the body: a task that is delivered twice, retried or rebuilt
    after an edit would get a different key and charge again. Two operations that are both intended, such as two
    purchases for one client, need different business ids.

    Args:
        namespace: Separates your operations from others, such as a job name: ``"renewals-2026-11"``.
        kind: The operation, such as ``"credits.purchase"``, or its endpoint.
        business_id: Your own id of this operation, such as an order number.

    Raises:
        InvalidArgumentError: An argument that is empty or not text.
    """
    parts = (namespace, kind.name if isinstance(kind, Endpoint) else kind, business_id)
    digest = hashlib.sha256()
    for name, part in zip(("namespace", "kind", "business_id"), parts, strict=True):
        digest.update(_prefix_length(name, part))
    return _PREFIX + digest.hexdigest()[:_DIGEST_LENGTH]


def _prefix_length(name: str, part: object) -> bytes:
    """Prefix the length, so that no two triples give the same bytes."""
    if not isinstance(part, str) or not part:
        raise InvalidArgumentError(f"{name}: expected text, got {part!r:.80}")
    try:
        content = part.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{name}: {part!r:.80} is not valid Unicode text") from None
    return len(content).to_bytes(8) + content


def new_key() -> str:
    """Generate an idempotency key: 128 random bits in hexadecimal."""
    # Not a seeded generator: a forked process would repeat its parent's keys.
    return os.urandom(16).hex()


def check_key(key: object) -> str:
    """Return an idempotency key that reaches the server unchanged.

    Raises:
        InvalidArgumentError: Anything but 1-255 visible ASCII characters without leading or trailing spaces.
    """
    if isinstance(key, str) and is_visible_ascii(key, MAX_KEY_LENGTH):
        return key
    raise InvalidArgumentError(
        f"idempotency key: expected 1-{MAX_KEY_LENGTH} visible ASCII characters without leading or trailing spaces, "
        f"got {key!r:.80}"
    )


def check_takes_key(endpoint: Endpoint[Any, Any]) -> None:
    """Reject a key for a POST to an endpoint that takes none.

    Raises:
        IdempotencyMisuseError: The server takes no key here, so none would protect the call.
    """
    if not endpoint.takes_key:
        error = IdempotencyMisuseError(
            f"{endpoint.name}: the server takes no idempotency key here; call it outside the block, without a key"
        )
        error.endpoint = endpoint.name
        raise error
