"""A small API with one list of credit packages, which a test lets break a rule. Every other path is unknown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from bardge_async import BardgeClient
from bardge_async.doctor import Examination, FieldFinding, RowFinding, examine
from tests.support.server import Received, ScriptedServer, Step, error, reply

JSON: TypeAlias = dict[str, Any]
Query: TypeAlias = Mapping[str, str]
Answer: TypeAlias = Callable[[Query], Step]

PACKAGES: Final = "/credit_packages"
UNKNOWN: Final = error(404, "invalid_request_error", "resource_not_found")


def make_packages(count: int) -> list[JSON]:
    """Return packages, newest first."""
    return [
        {
            "object": "credit_package",
            "id": f"cpkg_{number}",
            "name": f"{number} credits",
            "credits": number,
            "amount": 100.5,
            "currency": "NGN",
            "created": 1_760_000_000_000 + number,
        }
        for number in range(count, 0, -1)
    ]


def take_page(items: list[JSON], query: Query) -> JSON:
    """Return one page, as the vendor's page says."""
    ids = [item["id"] for item in items]
    start = ids.index(query["starting_after"]) + 1 if "starting_after" in query else 0
    end = start + int(query.get("limit", 10))
    return wrap(items[start:end], more=end < len(items))


def wrap(items: object, *, more: object = False) -> JSON:
    """Return the list object around items."""
    return {"object": "list", "data": items, "has_more": more, "url": PACKAGES, "message": "Packages retrieved"}


def list_packages(change: Callable[[list[JSON], Query], JSON] = take_page, count: int = 5, **headers: str) -> Answer:
    """Answer with packages, a page at a time; ``change`` breaks a rule."""
    return lambda query: reply(payload=change(make_packages(count), query), headers=headers)


def always(payload: object = None, **options: Any) -> Answer:
    """Answer always the same."""
    step = reply(payload=payload, **options)
    return lambda _: step


def play(answers: Mapping[str, Answer], otherwise: Step = UNKNOWN) -> Step:
    """Answer by path; what is not listed is unknown."""

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(request.target)
        answer = answers.get(url.path)
        step = otherwise if answer is None else answer(dict(parse_qsl(url.query)))
        await step(request, writer)

    return handle_request


@asynccontextmanager
async def serve(answers: Mapping[str, Answer], otherwise: Step = UNKNOWN) -> AsyncGenerator[ScriptedServer]:
    """Serve answers by path."""
    async with ScriptedServer(play(answers, otherwise)) as server:
        yield server


async def examine_answers(
    answers: Mapping[str, Answer], *, client_id: str | None = None, otherwise: Step = UNKNOWN, **options: Any
) -> Examination:
    """Examine a server that gives these answers."""
    async with serve(answers, otherwise) as server, BardgeClient("test-key-1234", server.base_url, **options) as bardge:
        return await examine(bardge, client_id=client_id)


async def examine_packages(answer: Answer) -> RowFinding:
    """Return the finding about the list of credit packages."""
    return find_row(await examine_answers({PACKAGES: answer}), "credits.list_packages")


def find_row(examination: Examination, name: str) -> RowFinding:
    """Return the finding about an endpoint."""
    return next(row for row in examination.rows if row.endpoint == name)


def find_field(row: RowFinding, path: str) -> FieldFinding:
    """Return the finding about a field."""
    return next(field for field in row.fields if field.path == path)


def change_item(items: list[JSON], name: str, value: object) -> list[JSON]:
    """Return items with a field changed in each."""
    return [json.loads(json.dumps(item)) | {name: value} for item in items]
