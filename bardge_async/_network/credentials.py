"""The API key: given, or asked for and asked again after it was rotated."""

from __future__ import annotations

import inspect
import logging
from typing import Final

import anyio

from bardge_async._core.http import LONGEST_TOKEN, visible
from bardge_async._core.secret import KeySource, Secret
from bardge_async._runtime.loops import PerLoop
from bardge_async.errors import ConfigurationError

_LOG: Final = logging.getLogger("bardge_async")


def bearer(key: Secret) -> Secret:
    """Make the header's value.

    Raises:
        ConfigurationError: The key holds what a header cannot; the key is not in the message.
    """
    if not visible(key, LONGEST_TOKEN):
        raise ConfigurationError("api_key: expected visible ASCII characters without blanks at the ends")
    return Secret("Bearer " + key)


class Credentials:
    """Give the ``Authorization`` header; a callable is asked once, and again after a 401."""

    def __init__(self, source: KeySource) -> None:
        self._header: Secret | None = None
        self._ask = None
        if isinstance(source, str):
            self._header = bearer(Secret(source))
        else:
            self._ask = source
        self._times_asked = 0
        self._locks = PerLoop(anyio.Lock)

    @property
    def known(self) -> Secret | None:
        """The header's value, where it needs no asking."""
        return self._header

    async def header(self) -> Secret:
        """Return the header's value, asking for the key the first time."""
        return self._header or await self._asked(None)

    async def renewed(self, rejected: str) -> bool:
        """Ask again after the server rejected a value; tell whether there is another one now."""
        if self._ask is None:
            return False
        try:
            return await self._asked(rejected) != rejected
        except ConfigurationError as error:
            # The caller learns of the 401, which came first and may hide an unknown outcome.
            _LOG.warning("%s", error)
            return False

    async def _asked(self, rejected: str | None) -> Secret:
        before = self._times_asked
        async with self._locks.get():
            # Another call may have asked while this one waited, and got another key or the same.
            if self._header is None or (self._header == rejected and self._times_asked == before):
                try:
                    self._header = await self._fetch()
                finally:
                    self._times_asked += 1
            return self._header

    async def _fetch(self) -> Secret:
        assert self._ask is not None  # noqa: S101 - a given key is never asked for
        try:
            found = _hidden(self._ask())
            if inspect.isawaitable(found):
                found = _hidden(await found)
        except Exception as error:
            raise ConfigurationError(f"api_key: the callable failed: {type(error).__name__}") from error
        if not isinstance(found, Secret):
            kind = type(found).__name__
            del found
            raise ConfigurationError(f"api_key: the callable returned {kind}, expected text")
        return bearer(found)


def _hidden(found: object) -> object:
    return Secret(found) if isinstance(found, str) else found
