"""``Sandbox(drift=SEED)`` plants differences between the table and the answers, and lists them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import aiohttp
import pytest

from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import ConfigurationError
from bardge_async.sandbox import Drift, DriftKind, Sandbox
from bardge_async.sandbox._drift import DriftPlan, plan_drifts

LIST_ISSUERS: Final = ENDPOINTS["lookups.list_issuers"]
BODY: Final = b'{"data":[{"id":"iss_1","name":"A"},{"id":"iss_2"}],"has_more":false,"url":"/issuers"}'


def find_seed(kind: DriftKind, endpoint: str) -> int:
    """Return a seed that plants a kind of difference at an endpoint without an id in its path."""
    return next(
        seed for seed in range(2000) if any((one.kind, one.endpoint) == (kind, endpoint) for one in plan_drifts(seed))
    )


def test_same_seed() -> None:
    """A seed always plants the same differences, one to four, at GETs."""
    plans = [plan_drifts(seed) for seed in range(100)]
    assert plans == [plan_drifts(seed) for seed in range(100)]
    assert {len(plan) for plan in plans} == {1, 2, 3, 4}
    assert {ENDPOINTS[one.endpoint].method for plan in plans for one in plan} == {"GET"}
    assert {one.kind for plan in plans for one in plan} == {*DriftKind}


async def test_no_drift() -> None:
    """Without a seed nothing is planted."""
    async with Sandbox() as sandbox:
        assert sandbox.drift == ()


@pytest.mark.parametrize("seed", ["1", 1.5, True])
def test_wrong_seed(seed: Any) -> None:
    """A seed is a whole number."""
    with pytest.raises(ConfigurationError, match="drift: expected a whole number"):
        Sandbox(drift=seed)


CHANGES: Final = {
    (DriftKind.NEW, "data[].bonus"): b'{"data":[{"id":"iss_1","name":"A","bonus":"new"},{"id":"iss_2","bonus":"new"}],'
    b'"has_more":false,"url":"/issuers"}',
    (DriftKind.MISSING, "data[].name"): b'{"data":[{"id":"iss_1"},{"id":"iss_2"}],"has_more":false,"url":"/issuers"}',
    (
        DriftKind.TYPE,
        "data[].name",
    ): b'{"data":[{"id":"iss_1","name":1},{"id":"iss_2"}],"has_more":false,"url":"/issuers"}',
    (
        DriftKind.TYPE,
        "has_more",
    ): b'{"data":[{"id":"iss_1","name":"A"},{"id":"iss_2"}],"has_more":"False","url":"/issuers"}',
    (DriftKind.MISSING, "url"): b'{"data":[{"id":"iss_1","name":"A"},{"id":"iss_2"}],"has_more":false}',
    (DriftKind.PATH, "/renamed"): BODY,
}


@pytest.mark.parametrize("change", CHANGES)
def test_answer(change: tuple[DriftKind, str]) -> None:
    """A difference changes one field of an answer, in every item."""
    plan = DriftPlan([Drift(LIST_ISSUERS.name, *change)])
    assert plan.change_answer(LIST_ISSUERS, BODY) == CHANGES[change]


def test_other_answers() -> None:
    """A difference changes no other endpoint's answer."""
    plan = DriftPlan([Drift("passes.list", DriftKind.NEW, "data[].bonus")])
    assert plan.change_answer(LIST_ISSUERS, BODY) == BODY


async def test_renamed_path(sandboxed: Any) -> None:
    """A renamed endpoint answers at its new path, and its old one is unknown."""
    async with sandboxed(drift=find_seed(DriftKind.PATH, LIST_ISSUERS.name)) as raw:
        old, new = await raw.get("/issuers"), await raw.get("/renamed/issuers")
    assert (old.status, new.status) == (404, 200)


async def test_served_answer(sandboxed: Any) -> None:
    """What the sandbox sends has the difference."""
    async with sandboxed(drift=find_seed(DriftKind.NEW, LIST_ISSUERS.name)) as raw:
        planted = next(one for one in raw.sandbox.drift if one.endpoint == LIST_ISSUERS.name)
        answer = (await raw.get("/issuers")).json
    holder = answer["data"][0] if planted.field.startswith("data[].") else answer
    assert holder[planted.field.rpartition(".")[2]] == "new"


async def test_refusals_do_not_drift(sandboxed: Any) -> None:
    """Error answers stay as they are."""
    async with sandboxed(drift=find_seed(DriftKind.NEW, LIST_ISSUERS.name)) as raw:
        assert (await raw.get("/issuers", limit=1000)).json.keys() == {"error"}


async def test_control(sandboxed: Any) -> None:
    """``/_sandbox/drift`` lists what is planted."""
    async with sandboxed(drift=7) as raw, raw.session.get(f"{raw.sandbox.control_url}/drift") as response:
        listed = (await response.json())["drift"]
        assert listed == [
            {"endpoint": one.endpoint, "kind": one.kind.value, "field": one.field} for one in raw.sandbox.drift
        ]


async def test_command_line() -> None:
    """``bardge sandbox --drift SEED`` plants the seed's differences."""
    command = [sys.executable, "-m", "bardge_async", "sandbox", "--port", "0", "--drift", "7"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode().strip() for _ in range(3)]
        async with aiohttp.ClientSession() as session:
            url = dict(line.split("=", 1) for line in lines)["BARDGE_SANDBOX_URL"]
            async with session.get(f"{url}/drift") as response:
                listed = (await response.json())["drift"]
    finally:
        process.terminate()
        await process.communicate()
    assert [one["field"] for one in listed] == [one.field for one in plan_drifts(7)]
