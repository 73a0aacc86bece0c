"""Call every method of the client against Prism, a mock server that knows only the document.

Prism rejects requests that the document does not allow, and generates responses from the schemas.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Generator
from typing import Any, Final

from bardge_async import BardgeClient, BardgeError, InvalidRequestError, Model, RetryPolicy, Walk
from campaigns.strangers.place import Fault, Place
from tests.contract.examples import EXAMPLES

PACKAGE: Final = "@stoplight/prism-cli@5.14.2"
SECONDS: Final = 60


def run(place: Place) -> str:
    """Call every method; return a summary."""
    commands = place.npm(PACKAGE)
    port = _free_port()
    path = place.document(f"http://127.0.0.1:{port}")
    words = [str(commands / "prism"), "mock", "--errors", "--port", str(port), str(path)]
    with _run_prism(words, port):
        faults = asyncio.run(_call_all(f"http://127.0.0.1:{port}"))
    if faults:
        raise Fault("\n".join(faults))
    return f"{len(EXAMPLES)} methods called, every request allowed, every response decoded"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def _run_prism(words: list[str], port: int) -> Generator[None]:
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as it:
        try:
            _wait_for(port, it)
            yield
        finally:
            it.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise Fault("Prism does not accept connections")


async def _call_all(base_url: str) -> list[str]:
    async with asyncio.timeout(SECONDS), BardgeClient("key", base_url, retry=RetryPolicy(max_attempts=1)) as bardge:
        findings = [await _check_rejection(bardge), *[await _call_method(bardge, name) for name in EXAMPLES]]
    return [line for line in findings if line]


async def _check_rejection(bardge: BardgeClient) -> str:
    """Check that Prism rejects an invalid request; return what is wrong, or nothing."""
    try:
        await bardge.request("POST", "/credit_purchases", request={"client_id": 5})
    except BardgeError as error:
        return "" if isinstance(error, InvalidRequestError) else f"an invalid request: {error!r}"
    return "an invalid request was allowed"


async def _call_method(bardge: BardgeClient, name: str) -> str:
    """Call one method as the contract tests do; return what is wrong, or nothing."""
    made = EXAMPLES[name].call(bardge)
    try:
        # Prism's lists never end: the example of a page has has_more set.
        result: Any = await (made.first() if isinstance(made, Walk) else made)
    except BardgeError as error:
        return f"{name}: {error!r}: {error}"
    if not isinstance(result, Model) or result.extra:
        return f"{name}: not decoded completely: {result!r}"
    return ""
