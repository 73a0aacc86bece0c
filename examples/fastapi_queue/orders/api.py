"""The web service: an order and its job are stored in one transaction, or not at all."""

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
    """A customer's order; ``number`` is chosen by the customer and unique."""

    number: str
    client_id: str
    package_id: str


async def get_connection(request: Request) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
    """Provide a connection; the request runs its own transaction on it, before it responds."""
    async with request.app.state.pool.connection() as connection:
        yield connection


def get_queue(request: Request) -> BardgeQueue:
    """Return the service's queue."""
    queue: BardgeQueue = request.app.state.queue
    return queue


Connection = Annotated[psycopg.AsyncConnection[Any], Depends(get_connection)]
Queue = Annotated[BardgeQueue, Depends(get_queue)]


def create_app(dsn: str) -> FastAPI:
    """Create the service on a database."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        job_app, app.state.queue = make_queue(dsn)
        async with AsyncConnectionPool(dsn, open=False) as app.state.pool, job_app.open_async():
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=202)
    async def place_order(order: Order, connection: Connection, queue: Queue) -> dict[str, str]:
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
            raise HTTPException(409, "an order with this number already exists") from None
        return {"number": order.number, "state": "todo"}

    @app.get("/orders/{number}")
    async def get_order(number: str, connection: Connection) -> dict[str, str]:
        found = await connection.execute(
            "SELECT j.status::text FROM orders o JOIN procrastinate_jobs j ON j.id = o.job WHERE o.number = %s",
            (number,),
        )
        row = await found.fetchone()
        if row is None:
            raise HTTPException(404, "there is no order with this number")
        return {"number": number, "state": row[0]}

    return app


def from_environment() -> FastAPI:
    """Create the service for uvicorn; the database is ``ORDERS_DSN``."""
    return create_app(os.environ["ORDERS_DSN"])
