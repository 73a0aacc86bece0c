"""``python -m orders.worker``: charge orders until SIGTERM; run as many workers as you like."""

from __future__ import annotations

import asyncio
import os

from bardge_async.integrations.procrastinate import worker_connection

from orders.queue import make_queue


async def main() -> None:
    """Run a worker; the API key is read from ``BARDGE_API_KEY``."""
    _, queue = make_queue(os.environ["ORDERS_DSN"], configure=worker_connection)
    await queue.run_worker(concurrency=25)


if __name__ == "__main__":
    asyncio.run(main())
