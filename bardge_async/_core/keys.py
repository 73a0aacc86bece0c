"""Idempotency keys: made, derived from what is done, checked."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Final

from bardge_async._core.http import is_visible_ascii
from bardge_async.endpoints import Endpoint, KeySupport
from bardge_async.errors import IdempotencyMisuseError, InvalidArgumentError

MAX_KEY_LENGTH: Final = 255
_PREFIX: Final = "op1_"
_DIGEST_LENGTH: Final = 40


def operation_key(namespace: str, kind: str | Endpoint[Any, Any], business_id: str) -> str:
    """Make the idempotency key of one business operation: the same three texts always give the same key.

    Never derive a key from a task id, an attempt or the body: a task that is delivered twice, retried or built again
    after an edit would get another key, and charge again. Two operations that are both wanted, such as two purchases
    of one client, need two business ids.

    Args:
        namespace: What keeps your operations apart from others', such as a job's name: ``"renewals-2026-11"``.
        kind: What is done, such as ``"credits.purchase"``, or the row itself.
        business_id: Your own id of this one operation, such as an order number.

    Raises:
        InvalidArgumentError: A part that is no text, or empty.
    """
    parts = (namespace, kind.name if isinstance(kind, Endpoint) else kind, business_id)
    digest = hashlib.sha256()
    for name, part in zip(("namespace", "kind", "business_id"), parts, strict=True):
        digest.update(_prefix_length(name, part))
    return _PREFIX + digest.hexdigest()[:_DIGEST_LENGTH]


def _prefix_length(name: str, part: object) -> bytes:
    """Put the length in front, so that no two triples give the same bytes."""
    if not isinstance(part, str) or not part:
        raise InvalidArgumentError(f"{name}: expected text, got {part!r:.80}")
    try:
        content = part.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{name}: {part!r:.80} is no valid Unicode text") from None
    return len(content).to_bytes(8) + content


def new_key() -> str:
    """Make an idempotency key: 128 random bits in hexadecimal."""
    return os.urandom(16).hex()


def check_key(key: object) -> str:
    """Return an idempotency key that reaches the server as it is.

    Raises:
        InvalidArgumentError: Anything but 1-255 visible ASCII characters without blanks at the ends.
    """
    if isinstance(key, str) and is_visible_ascii(key, MAX_KEY_LENGTH):
        return key
    raise InvalidArgumentError(
        f"idempotency key: expected 1-{MAX_KEY_LENGTH} visible ASCII characters without blanks at the ends, got {key!r:.80}"
    )


def check_takes_key(endpoint: Endpoint[Any, Any]) -> None:
    """Refuse a key for a POST whose row takes none.

    Raises:
        IdempotencyMisuseError: The server takes no key here, so none protects the call.
    """
    if endpoint.key is KeySupport.NO:
        error = IdempotencyMisuseError(
            f"{endpoint.name}: the server takes no idempotency key here; call it outside the block, without a key"
        )
        error.endpoint = endpoint.name
        raise error
