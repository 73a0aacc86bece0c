# ruff: noqa: T201 - a command
"""Run it: ``python -m campaigns.soak --operations 20000 --loop uvloop --seed 1``; exit code 1 if anything grows."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import logging
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from bardge_async import BardgeClient, BardgeError, PurchaseCredits, RetryPolicy, Timeouts
from campaigns.soak.server import ENDINGS, SoakProtocol

_ROUNDS: Final = 20
_CONCURRENCY: Final = 24
_MEMORY_SLACK: Final = 6 * 2**20
_RETRY: Final = RetryPolicy(max_attempts=2, base=0)
_LIMITS: Final = Timeouts(total=0.5, attempt=0.1, connect=0.5)


@attrs.frozen
class Reading:
    """What must not grow, after a round in which a client was opened, used and closed."""

    descriptors: int
    tasks: int
    slots_taken: int
    connections_taken: int
    memory: int


def _count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _measure_memory() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


async def _use_client(bardge: BardgeClient, kind: str, name: str, length: int) -> None:
    if kind == "get":
        await bardge.clients.get_credits(name)
    elif kind == "post":
        await bardge.credits.purchase(PurchaseCredits(client_id=name, package_id="p"))
    else:
        async for _ in bardge.bookings.list_for_client(name):
            length -= 1
            if length < 0:
                break


async def _play_operation(bardge: BardgeClient, dice: random.Random) -> str:
    """Play one operation of a random kind; return how it ended."""
    kind = dice.choice(["get", "post", "walk"])
    name = f"soak_{dice.choices(ENDINGS, weights=(8, 2, 1, 2, 1, 1))[0]}"
    patience = dice.choice([None, None, None, dice.random() * 0.004])
    task = asyncio.create_task(_use_client(bardge, kind, name, dice.randrange(8)))
    if patience is None and dice.random() < 0.2:
        for _ in range(dice.randrange(20)):
            await asyncio.sleep(0)
        task.cancel()
    try:
        with anyio.move_on_after(patience):
            await task
            return "done"
    except BardgeError as error:
        return type(error).__name__
    except asyncio.CancelledError:
        return "cancelled"
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    return "given up"


async def _play_round(base_url: str, count: int, dice: random.Random, endings: Counter[str]) -> Reading:
    async with BardgeClient("key", base_url, retry=_RETRY, timeout=_LIMITS) as bardge:
        left = iter(range(count))

        async def play_share() -> None:
            for _ in left:
                endings[await _play_operation(bardge, dice)] += 1

        await asyncio.gather(*(play_share() for _ in range(_CONCURRENCY)))
        slots = bardge._caller.slots
        transport: Any = bardge._caller._engine.transport
        loops: list[Any] = [one for _, one in transport._sessions._per_loop.items()]
        taken = sum(len(one.session.connector._acquired) for one in loops)
        slots_taken = slots.size - slots._semaphores.get().free
    for _ in range(20):
        await asyncio.sleep(0)
    gc.collect()
    return Reading(_count_descriptors(), len(asyncio.all_tasks()), slots_taken, taken, _measure_memory())


async def _run_soak(operations: int, seed: int) -> tuple[list[Reading], Counter[str], list[str]]:
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(str(context["message"])))
    server = await loop.create_server(SoakProtocol, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    dice, endings = random.Random(seed), Counter[str]()
    readings = [await _play_round(base_url, operations // _ROUNDS, dice, endings) for _ in range(_ROUNDS)]
    server.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), 5)
    return readings, endings, told


def find_growth(readings: list[Reading]) -> list[str]:
    """Return what has grown since the first quarter of the rounds."""
    settled, last = readings[: len(readings) // 4], readings[-1]
    grown = [name for name in ("slots_taken", "connections_taken") if getattr(last, name)]
    grown += [name for name in ("descriptors", "tasks") if getattr(last, name) > max(getattr(r, name) for r in settled)]
    return grown + ["memory"] * (last.memory > max(one.memory for one in settled) + _MEMORY_SLACK)


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaigns.soak", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.getLogger("bardge_async").setLevel(logging.CRITICAL)
    make_loop: Any = asyncio.new_event_loop if given.loop == "asyncio" else importlib.import_module("uvloop").Loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        readings, endings, told = runner.run(_run_soak(given.operations, given.seed))
    grown = find_growth(readings)
    for number in (0, len(readings) // 4, len(readings) - 1):
        print(f"round {number + 1}: {readings[number]}")
    print(f"{given.loop}: {endings.total()} operations: {dict(endings.most_common())}")
    print(f"grown: {grown or 'nothing'}; told to the loop: {Counter(told).most_common(3) or 'nothing'}")
    return int(bool(grown or told))


if __name__ == "__main__":
    sys.exit(main())
