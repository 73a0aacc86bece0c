"""Hooks are told once of each field that the models do not expect, per endpoint and in the whole process."""

from __future__ import annotations

import itertools
import threading
from typing import Any, Final

import anyio
import pytest

from bardge_async import BardgeClient, BardgeError, DriftFound, Event
from bardge_async._core.drift import NOTED
from bardge_async.testing import FakeTransport, ManualClock, json_response
from tests.support.canary import CANARY, holds_canary

COUNTER: Final = itertools.count()


def make_name() -> str:
    """Return a field name that no other test uses: what is told is remembered for the process."""
    return f"field_{next(COUNTER)}"


async def call(payload: object, *, times: int = 1, path: str = "clients") -> list[DriftFound]:
    """Return what hooks are told of while an answer arrives some times."""
    events: list[Event] = []
    fake = FakeTransport(*[json_response(payload)] * times)
    async with BardgeClient(CANARY, transport=fake, hooks=[events.append], clock=ManualClock()) as bardge:
        for _ in range(times):
            if path == "clients":
                await bardge.clients.get("c")
            elif path == "credits":
                await bardge.clients.get_credits("c")
            else:
                await bardge.credits.list_packages().collect()
    return [event for event in events if isinstance(event, DriftFound)]


def wrap(*items: object, **fields: object) -> dict[str, Any]:
    return {"object": "list", "data": items, "has_more": False, "url": "/credit_packages", **fields}


async def test_new_field() -> None:
    """An unknown field is told of once, with class, name, endpoint and attempt."""
    name = make_name()
    assert await call({name: 1}, times=3) == [
        DriftFound(endpoint="clients.get", idempotency_key=None, attempt=1, field=f"Client.{name}", kind="new")
    ]
    assert await call({name: 1}) == []


async def test_other_endpoint() -> None:
    """The same field in another endpoint's answer is told of, too."""
    name = make_name()
    assert await call({name: 1})
    assert [event.field for event in await call({name: 1}, path="credits")] == [f"ClientCredits.{name}"]


async def test_items_of_a_page() -> None:
    """A field of many items is told of once, one of the page itself as the page's."""
    name = make_name()
    payload = wrap({"id": "1", name: 1}, {"id": "2", name: 2}, **{name: None})
    found = await call(payload, path="packages")
    assert sorted(event.field for event in found) == [f"CreditPackage.{name}", f"Page.{name}"]


async def test_contradicted_field() -> None:
    """An inferred field of another type is told of, and kept in ``extra``."""
    found = await call(wrap({"id": "1", "credits": "many"}, {"id": "2", "credits": "x"}), path="packages")
    assert [(event.field, event.kind) for event in found] == [("CreditPackage.credits", "contradicted")]


async def test_nothing_unexpected() -> None:
    """An answer of the expected shape tells nothing, and leaves nothing noted."""
    assert await call(wrap({"id": "1", "name": None}), path="packages") == []
    assert not NOTED


async def test_unreadable_answer() -> None:
    """What was noted of an answer that cannot be read is not told of the next one."""
    events: list[Event] = []
    fake = FakeTransport(json_response({make_name(): 1, "balance": "x"}), json_response({"balance": 1}))
    async with BardgeClient("key", transport=fake, hooks=[events.append]) as bardge:
        with pytest.raises(BardgeError):
            await bardge.clients.get_credits("c")
        await bardge.clients.get_credits("c")
    assert not [event for event in events if isinstance(event, DriftFound)]
    assert not NOTED


async def test_without_hooks() -> None:
    """A client without hooks leaves the news to those that have some."""
    name = make_name()
    async with BardgeClient("key", transport=FakeTransport(json_response({name: 1}))) as bardge:
        await bardge.clients.get("c")
    assert not NOTED
    assert len(await call({name: 1})) == 1


async def test_names_without_end() -> None:
    """An object with thousands of names tells of a bounded number, of bounded length."""
    found = await call({f"{make_name()}_{'x' * 1000}": 1 for _ in range(1000)})
    assert len(found) == 100
    assert all(len(event.field) <= 120 for event in found)


async def test_key_in_a_name() -> None:
    """A server that echoes the API key as a field's name does not get it to hooks."""
    found = await call({f"{make_name()}-{CANARY}": 1})
    assert len(found) == 1
    assert not holds_canary(repr(found))


async def test_threads() -> None:
    """Loops in several threads are told of their own endpoints' fields."""
    names = [make_name() for _ in range(4)]
    found: dict[str, list[str]] = {}
    barrier = threading.Barrier(4, timeout=10)

    def run(name: str, path: str) -> None:
        barrier.wait()
        found[name] = [event.field for event in anyio.run(lambda: call({name: 1}, path=path))]

    threads = [
        threading.Thread(target=run, args=(name, path))
        for name, path in zip(names, ["clients", "credits"] * 2, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    classes = ["Client", "ClientCredits"] * 2
    assert found == {name: [f"{cls}.{name}"] for name, cls in zip(names, classes, strict=True)}
