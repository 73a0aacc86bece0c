"""The web service: an order and its job are stored by one transaction, or not at all."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import psycopg
from bardge_async import Operation, PurchaseCredits
from bardge_async.integrations.procrastinate import BardgeQueue
from fastapi import Depends, FastAPI, HTTPException, Request
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

from orders.queue import JOB, make_queue


class Order(BaseModel):
    """What a customer ordered; ``number`` is the customer's own and unique."""

    number: str
    client_id: str
    package_id: str


async def connected(request: Request) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
    """Lend a connection; the request begins and ends its own transaction, before it answers."""
    async with request.app.state.pool.connection() as connection:
        yield connection


def queue_of(request: Request) -> BardgeQueue:
    """Return the service's queue."""
    queue: BardgeQueue = request.app.state.queue
    return queue


Connection = Annotated[psycopg.AsyncConnection[Any], Depends(connected)]
Queue = Annotated[BardgeQueue, Depends(queue_of)]


def create_app(dsn: str) -> FastAPI:
    """Make the service over a database."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        engine, app.state.queue = make_queue(dsn)
        async with AsyncConnectionPool(dsn, open=False) as app.state.pool, engine.open_async():
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=202)
    async def place(order: Order, connection: Connection, queue: Queue) -> dict[str, str]:
        request = PurchaseCredits(client_id=order.client_id, package_id=order.package_id)
        operation = Operation("credits.purchase", request=request, id=order.number)
        try:
            async with connection.transaction():
                job = await queue.defer(operation, job=JOB, connection=connection)
                await connection.execute(
                    "INSERT INTO orders VALUES (%s, %s, %s, %s)",
                    (order.number, order.client_id, order.package_id, job),
                )
        except psycopg.errors.UniqueViolation:
            raise HTTPException(409, "this order was placed before") from None
        return {"number": order.number, "state": "todo"}

    @app.get("/orders/{number}")
    async def look(number: str, connection: Connection) -> dict[str, str]:
        found = await connection.execute(
            "SELECT j.status::text FROM orders o JOIN procrastinate_jobs j ON j.id = o.job WHERE o.number = %s",
            (number,),
        )
        row = await found.fetchone()
        if row is None:
            raise HTTPException(404, "no such order")
        return {"number": number, "state": row[0]}

    return app


def from_environment() -> FastAPI:
    """Make the service as uvicorn calls it."""
    return create_app(os.environ["ORDERS_DSN"])
