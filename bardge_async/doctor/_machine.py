"""Check what lies between the client and the server: name, certificate, proxy, clocks, round trips, versions."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.metadata
import os
import platform
import socket
import ssl
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Final
from urllib.parse import SplitResult, urlsplit

import attrs

from bardge_async import BardgeClient
from bardge_async._core.server_clock import parse_http_date
from bardge_async._version import __version__
from bardge_async.doctor._findings import Check
from bardge_async.errors import BardgeError

_ROUND_TRIPS: Final = 10
_CONNECT_SECONDS: Final = 10.0
_MAX_OFFSET: Final = 10.0
"""Seconds: the margin that the client keeps within the 90 seconds of a key (``ReplayWindow.margin``)."""
_FEW_DAYS: Final = 14
_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_LIBRARIES: Final = ("aiohttp", "attrs", "cattrs", "orjson", "anyio")


@attrs.frozen
class _RoundTrip:
    """One GET: its seconds, the answer's headers, and how far the server's clock is ahead, if it says."""

    seconds: float
    headers: Mapping[str, str]
    offset: float | None


async def check_machine(client: BardgeClient, base_url: str, probe_path: str | None) -> tuple[Check, ...]:
    """Check the way to the server; ten GETs of a path measure it, if there is one that answers."""
    url = urlsplit(base_url)
    trips = [] if probe_path is None else await _measure_round_trips(client, probe_path)
    return (
        await _check_name(url),
        await _check_certificate(url, connected=probe_path is not None),
        _check_proxies(),
        _check_clock(trips),
        _check_round_trips(trips),
        _check_keep_alive(trips),
        _list_versions(),
    )


async def _check_name(url: SplitResult) -> Check:
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Check("DNS", False, f"{host} cannot be resolved: {getattr(error, 'strerror', None) or error}")
    count = len({address[4][0] for address in found})
    return Check("DNS", True, f"{host} has {count} address{'es' if count > 1 else ''}")


async def _check_certificate(url: SplitResult, *, connected: bool) -> Check:
    if url.scheme != "https":
        return Check("TLS", None, "not used: plain HTTP to this machine")
    host, port = url.hostname or "", url.port or 443
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    except (OSError, UnicodeError) as error:
        if connected:
            # With an ssl= or proxy= of its own.
            return Check("TLS", None, f"only the client connects; without its options: {type(error).__name__}")
        return Check("TLS", False, f"no verified connection: {type(error).__name__}")
    with closing(writer):
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = session.getpeercert() or {}
        version = session.version()
    until = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate.get("notAfter"))), dt.UTC)
    days = (until - dt.datetime.now(dt.UTC)).days
    return Check("TLS", days >= _FEW_DAYS or None, f"{version}; the certificate is valid until {until:%Y-%m-%d}")


def _check_proxies() -> Check:
    given = [name for name in _VARIABLES if os.environ.get(name)]
    if not given:
        return Check("proxy", True, "none in the environment")
    return Check("proxy", None, f"{', '.join(given)} set, and ignored: pass proxy= to the client if you need it")


async def _measure_round_trips(client: BardgeClient, path: str) -> list[_RoundTrip]:
    trips: list[_RoundTrip] = []
    for _ in range(_ROUND_TRIPS):
        began = time.perf_counter()
        try:
            response = await client.request("GET", path, query={"limit": 1})
        except BardgeError:
            continue
        seconds = time.perf_counter() - began
        if response.attempts > 1:
            continue
        trips.append(_RoundTrip(seconds, response.headers, _read_offset(response.headers, time.time() - seconds / 2)))
    return trips


def _read_offset(headers: Mapping[str, str], wall: float) -> float | None:
    """Return how many seconds the server's clock is ahead; ``Date`` is cut to whole seconds."""
    date = parse_http_date(headers.get("Date", ""))
    return None if date is None else date + 0.5 - wall


def _check_clock(trips: Sequence[_RoundTrip]) -> Check:
    offsets = [trip.offset for trip in trips if trip.offset is not None]
    if not offsets:
        return Check("clock", None, "the server sends no Date" if trips else "no good answer to judge by")
    offset = statistics.median(offsets)
    direction = "ahead of" if offset > 0 else "behind"
    text = f"the server's clock is {abs(offset):.1f} s {direction} this machine's (known to about 0.5 s)"
    if abs(offset) <= _MAX_OFFSET:
        return Check("clock", True, text)
    return Check("clock", False, f"{text}: set the clock, the 90 seconds of a key are judged by it")


def _check_round_trips(trips: Sequence[_RoundTrip]) -> Check:
    if not trips:
        return Check("round trips", None, "no good answer to measure")
    times = sorted(trip.seconds * 1000 for trip in trips)
    p95 = times[min(len(times) - 1, round(len(times) * 0.95))]
    return Check("round trips", True, f"p50 {statistics.median(times):.1f} ms, p95 {p95:.1f} ms over {len(times)} GETs")


def _check_keep_alive(trips: Sequence[_RoundTrip]) -> Check:
    if not trips:
        return Check("keep-alive", None, "no good answer to judge by")
    closing_answers = [trip for trip in trips if _says_close(trip.headers)]
    if not closing_answers:
        return Check("keep-alive", True, "connections are kept open")
    return Check(
        "keep-alive", None, f"the server closed {len(closing_answers)} of {len(trips)} connections: each call connects"
    )


def _says_close(headers: Mapping[str, str]) -> bool:
    return headers.get("Connection", "").strip().lower() == "close"


def _list_versions() -> Check:
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    own = f"bardge-async {__version__}"
    return Check("versions", True, f"{own}, Python {platform.python_version()} on {platform.system()}, {libraries}")
