"""The API key: a fixed value, or a callable that is called again after a 401."""

from __future__ import annotations

import inspect
import logging
from typing import Final

import anyio

from bardge_async._core.http import MAX_TOKEN_LENGTH, is_visible_ascii
from bardge_async._core.secret import ApiKeySource, Secret
from bardge_async._runtime.loops import PerLoop
from bardge_async.errors import ConfigurationError

_LOG: Final = logging.getLogger("bardge_async")


def format_bearer(key: Secret) -> Secret:
    """Return the value of the ``Authorization`` header.

    Raises:
        ConfigurationError: The key has characters that a header does not allow; the message does not contain the key.
    """
    if not is_visible_ascii(key, MAX_TOKEN_LENGTH):
        raise ConfigurationError("api_key: expected visible ASCII characters without leading or trailing spaces")
    return Secret("Bearer " + key)


class Credentials:
    """Provide the ``Authorization`` header; a callable is called once, and again after a 401."""

    def __init__(self, source: ApiKeySource) -> None:
        self.known_header: Secret | None = None
        """The header's value, if it is known without calling the callable."""
        self._key_callable = None
        if isinstance(source, str):
            self.known_header = format_bearer(Secret(source))
        else:
            self._key_callable = source
        self._fetch_count = 0
        self._locks = PerLoop(anyio.Lock)

    @property
    def source(self) -> object:
        """What the key comes from: the callable, else the header's value."""
        return self.known_header if self._key_callable is None else self._key_callable

    async def get_header(self) -> Secret:
        """Return the header's value, calling the callable the first time."""
        return self.known_header or await self._refresh_header(None)

    async def renew_header(self, rejected: str) -> bool:
        """Get the key again after the server rejected a value; return whether it has changed."""
        if self._key_callable is None:
            return False
        try:
            return await self._refresh_header(rejected) != rejected
        except ConfigurationError as error:
            # The caller gets the 401, which came first; raising here could hide an unknown outcome.
            _LOG.warning("%s", error)
            return False

    async def _refresh_header(self, rejected: str | None) -> Secret:
        fetch_count = self._fetch_count
        async with self._locks.get():
            # Another call may have fetched the key, changed or not, while this one waited for the lock.
            if self.known_header is None or (self.known_header == rejected and self._fetch_count == fetch_count):
                try:
                    self.known_header = await self._fetch_key()
                finally:
                    self._fetch_count += 1
            return self.known_header

    async def _fetch_key(self) -> Secret:
        assert self._key_callable is not None
        try:
            key = _wrap_secret(self._key_callable())
            if inspect.isawaitable(key):
                key = _wrap_secret(await key)
        except Exception as error:
            raise ConfigurationError(f"api_key: the callable failed: {type(error).__name__}") from error
        if not isinstance(key, Secret):
            kind = type(key).__name__
            del key
            raise ConfigurationError(f"api_key: the callable returned {kind}, expected str")
        return format_bearer(key)


def _wrap_secret(key: object) -> object:
    return Secret(key) if isinstance(key, str) else key
