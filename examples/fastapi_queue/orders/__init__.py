"""Take orders over HTTP; workers charge them."""

from __future__ import annotations

from orders.api import create_app
from orders.queue import make_queue

__all__ = ["create_app", "make_queue"]
