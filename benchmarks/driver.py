"""Start the stub on a separate core, read its counters, and measure its limit."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from typing import Final

from benchmarks import stub

_PIPELINED: Final = 16
_AUTH: Final = f"Host: 127.0.0.1\r\nAuthorization: Bearer {stub.API_KEY}\r\n"


def choose_cores() -> tuple[int, int]:
    """Return a core for the server and one for the clients, or -1 and -1 if they cannot be separated."""
    if not hasattr(os, "sched_setaffinity"):
        return -1, -1
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[1], allowed[0]) if len(allowed) > 1 else (-1, -1)


@contextlib.contextmanager
def run_stub(items: int, core: int) -> Generator[int]:
    """Run the stub and yield its port."""
    command = [sys.executable, "-m", "benchmarks.stub", str(items), str(core)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def fetch_stats(port: int) -> dict[str, float]:
    """Fetch the stub's counters: requests, distinct keys and CPU time."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(_make_get("/_stats"))
        raw = line.recv(65536)
    counters: dict[str, float] = json.loads(raw.partition(b"\r\n\r\n")[2])
    return counters


def _make_get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\n{_AUTH}\r\n".encode()


def _make_post(number: int) -> bytes:
    body = json.dumps({"client_id": stub.client_id(number), "package_id": "cpkg_50"}).encode()
    head = f"POST /credit_purchases HTTP/1.1\r\n{_AUTH}Idempotency-Key: limit-{number}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def measure_limits(port: int, seconds: float) -> dict[str, float]:
    """Measure the stub's own limit in requests per second, over a raw socket that sends 16 requests at a time."""
    walk = _make_get(f"/clients/{stub.CLIENT}/bookings?limit={stub.PAGE_SIZE}")
    requests = {"page": walk, "get": _make_get(f"/issued_passes/{stub.CLIENT}"), "post": _make_post(0)}
    return {name: _measure_limit(port, request, seconds) for name, request in requests.items()}


def _measure_limit(port: int, request: bytes, seconds: float) -> float:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = _read_response_size(line, request)
        batch, rounds, begin = request * _PIPELINED, 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds:
            line.sendall(batch)
            _skip_bytes(line, size * _PIPELINED)
            rounds += 1
    return rounds * _PIPELINED / spent


def _read_response_size(line: socket.socket, request: bytes) -> int:
    line.sendall(request)
    raw = line.recv(1 << 20)
    while b"\r\n\r\n" not in raw:
        raw += line.recv(1 << 20)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    _skip_bytes(line, length - len(body))
    return len(head) + 4 + length


def _skip_bytes(line: socket.socket, size: int) -> None:
    while size > 0:
        size -= len(line.recv(min(size, 1 << 20)))
