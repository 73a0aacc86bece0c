"""Assemble a client's parts. Imported when the first client is created, since it loads aiohttp and cattrs."""

from __future__ import annotations

import contextlib
import importlib
import ssl as _ssl
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from bardge_async._calls.context import ClientSettings
from bardge_async._calls.engine import Engine
from bardge_async._calls.notifier import Notifier
from bardge_async._calls.options import require_method
from bardge_async._core.request import RequestBuilder
from bardge_async._core.settings import is_loopback
from bardge_async._limits.connections import ConnectionSlots
from bardge_async._network import Transport
from bardge_async._network.aiohttp_transport import AiohttpTransport
from bardge_async._network.credentials import Credentials
from bardge_async._runtime.clock import Clock, ClockReader
from bardge_async.errors import ConfigurationError

__all__ = ["ClientSettings", "Credentials", "Engine", "Notifier", "RequestBuilder", "build_engine", "build_transport"]

# anyio would import it during the first call.
with contextlib.suppress(ImportError):
    importlib.import_module("anyio._backends._asyncio")

_MAX_CONNECTIONS: Final = 100_000


def build_transport(
    clock: Clock,
    base_url: str,
    *,
    transport: Transport | None,
    session: aiohttp.ClientSession | None,
    ssl: _ssl.SSLContext | None,
    proxy: str | None,
) -> Transport:
    """Return the user's transport, or create one over aiohttp.

    Raises:
        ConfigurationError: Options exclude each other or would disable a protection.
    """
    exclusive = {"transport": transport, "session": session}
    for name, value in exclusive.items():
        others = {"transport": transport, "session": session, "ssl": ssl, "proxy": proxy}
        conflicting = [other for other, given in others.items() if other != name and given is not None]
        if value is not None and conflicting:
            raise ConfigurationError(f"{name}: it uses its own connections; remove {', '.join(conflicting)}")
    if transport is not None:
        return require_method("transport", transport, "send")
    if session is not None and not isinstance(session, aiohttp.ClientSession):
        raise ConfigurationError(f"session: expected an aiohttp.ClientSession, got {type(session).__name__}")
    _check_ssl(ssl)
    _check_proxy(proxy, plain_http=base_url.startswith("http:"))
    return AiohttpTransport(clock, ssl=ssl, proxy=proxy, session=session)


def _check_ssl(ssl: object) -> None:
    if ssl is not None and not isinstance(ssl, _ssl.SSLContext):
        raise ConfigurationError(
            "ssl: expected an ssl.SSLContext; to trust your own CA: ssl.create_default_context(cafile=...)"
        )
    if ssl is not None and not (ssl.verify_mode is _ssl.CERT_REQUIRED and ssl.check_hostname):
        raise ConfigurationError(
            "ssl: the context must verify certificate and host name; otherwise the key can be intercepted"
        )


def _check_proxy(proxy: str | None, *, plain_http: bool) -> None:
    if proxy is None:
        return
    host = _proxy_host(proxy)
    if host is None:
        raise ConfigurationError("proxy: expected a URL such as http://proxy.example:3128")
    if plain_http and not is_loopback(host):
        raise ConfigurationError(
            "proxy: with a plain-HTTP base URL the key would cross the network unencrypted; use HTTPS"
        )


def _proxy_host(proxy: str) -> str | None:
    if not proxy.isascii() or not proxy.isprintable() or " " in proxy:
        return None
    try:
        parts = urlsplit(proxy)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return host if parts.scheme in {"http", "https"} else None


def build_engine(settings: ClientSettings, transport: Transport, clock: Clock, max_connections: object) -> Engine:
    """Create the engine.

    Raises:
        ConfigurationError: ``max_connections`` is out of range.
    """
    if (
        isinstance(max_connections, bool)
        or not isinstance(max_connections, int)
        or not 1 <= max_connections <= _MAX_CONNECTIONS
    ):
        raise ConfigurationError(f"max_connections: expected 1 to {_MAX_CONNECTIONS}, got {max_connections!r:.40}")
    return Engine(settings, transport, ConnectionSlots(max_connections, clock), ClockReader(clock))
