"""Measure processes that share one rate: how much of it they use, how evenly, and how soon a 429 stops all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

import attrs

from tests.support.postgres import run_server
from tests.support.server import Received, ScriptedServer, error, reply

_WARM_UP: Final = 2.0
_HOLD: Final = 2
_STOPS_WITHIN: Final = 0.6


@attrs.frozen
class Report:
    """Measurements; the times of arrivals and sends are seconds of the same clock."""

    rate: float
    seconds: float
    arrivals: Sequence[float]
    sends: Sequence[float]
    shares: Sequence[float]
    stopped: float
    resumed: float

    def format_lines(self) -> list[str]:
        """Format the report as lines."""
        shares = ", ".join(f"{share:.1%}" for share in self.shares)
        return [
            f"used {self.used:.2%} of {self.rate:g}/s in {self.seconds:g} s by {len(self.shares)} processes",
            f"busiest second: {count_busiest_second(self.arrivals)} arrivals, {count_busiest_second(self.sends)} sends",
            f"shares: {shares}",
            f"429: the last request {self.stopped:.2f} s later, the next one {self.resumed:.2f} s later",
        ]

    @property
    def used(self) -> float:
        """Arrivals as a share of the rate."""
        return len(self.arrivals) / (self.rate * self.seconds)

    def missed_goals(self) -> list[str]:
        """Return the goals that were missed."""
        most, equal = self.rate + max(1, 0.03 * self.rate), 1 / len(self.shares)
        goals = {
            "less than 97 % used": self.used >= 0.97,
            "more than 103 % arrived in a second": count_busiest_second(self.arrivals) <= most,
            "more than 103 % sent in a second": count_busiest_second(self.sends) <= most,
            "a share differs by more than 15 %": all(abs(share / equal - 1) <= 0.15 for share in self.shares),
            "a 429 did not stop all": self.stopped <= _STOPS_WITHIN and self.resumed >= _HOLD,
        }
        return [missed for missed, met in goals.items() if not met]


def count_busiest_second(times: Sequence[float]) -> int:
    """Return how many times are in the busiest second."""
    return max((bisect_left(times, at + 1.0) - place for place, at in enumerate(times)), default=0)


@attrs.define
class Api:
    """A server that records who sends when, and sends one 429 when told to; ``begun``: when measuring starts."""

    seen: list[tuple[float, str]] = attrs.field(factory=list[tuple[float, str]])
    begun: float = 0.0
    asks_to_wait: bool = False
    asked_at: float = 0.0

    async def respond(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Respond to one request."""
        now = time.monotonic()
        self.seen.append((now, request.path.split("/")[-2]))
        answer = reply(200, {"balance": 5})
        if self.asks_to_wait:
            self.asks_to_wait, self.asked_at = False, now
            answer = error(429, Retry_After=str(_HOLD))
        await answer(request, writer)


async def measure(processes: int, rate: float, seconds: float, tasks: int) -> Report:
    """Let processes send for some seconds, then respond to one of them with a 429."""
    api = Api()
    with run_server() as database:
        async with ScriptedServer(api.respond) as it:
            command = [
                sys.executable,
                "-m",
                "campaigns.limiter.worker",
                it.base_url,
                database.dsn,
                str(rate),
                str(tasks),
            ]
            workers = await asyncio.gather(*(_start_worker([*command, str(place)]) for place in range(processes)))
            # On a busy machine, a server that waits for CPU time would see requests in bursts.
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, -10)
            api.begun = await _signal_workers(workers) + _WARM_UP
            await asyncio.sleep(_WARM_UP + seconds)
            api.asks_to_wait = True
            await asyncio.sleep(2 * _HOLD)
            await _signal_workers(workers)
            sends = [at for worker in workers for at in json.loads((await worker.communicate())[0])]
    return _make_report(api, rate, seconds, sends, processes)


def _make_report(api: Api, rate: float, seconds: float, sends: list[float], processes: int) -> Report:
    begun, ended = api.begun, api.begun + seconds
    measured = [(at, who) for at, who in api.seen if begun <= at < ended]
    counted = Counter(who for _, who in measured)
    after = [at - api.asked_at for at, _ in api.seen if at > api.asked_at]
    return Report(
        rate=rate,
        seconds=seconds,
        arrivals=[at for at, _ in measured],
        sends=sorted(at for at in sends if begun <= at < ended),
        shares=[counted[str(place)] / max(1, len(measured)) for place in range(processes)],
        stopped=max((at for at in after if at < _HOLD - 0.1), default=0.0),
        resumed=min((at for at in after if at >= _HOLD - 0.1), default=0.0),
    )


async def _start_worker(command: list[str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**24)
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"ready\n"
    return worker


async def _signal_workers(workers: Sequence[asyncio.subprocess.Process]) -> float:
    """Send each worker its next signal; return the time."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        await worker.stdin.drain()
    return time.monotonic()
