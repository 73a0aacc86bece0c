"""Which stored requests and answers name a client, and so go with it."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import unquote

from bardge_async.errors import InvalidArgumentError

# A string of JSON, and the colon behind it if it is a key. One that is cut off is taken to the end, and is no match.
_STRING: Final = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)("[ \t\n\r]*+(:)?)?', re.DOTALL)


class ClientMatcher:
    """Find a client's id as a path segment of a URL or as a string value in JSON, however either is escaped.

    ``needle`` is the id in UTF-8: content with neither it nor a backslash, and a URL with neither it nor a percent sign,
    need no closer look.
    """

    def __init__(self, client_id: object) -> None:
        if not isinstance(client_id, str) or not client_id:
            raise InvalidArgumentError(f"client_id: expected the id of a client, got {client_id!r:.40}")
        self.client_id = client_id
        self.needle = client_id.encode("utf-8", "surrogatepass")

    def matches(self, base_url: str, url: str, *contents: bytes | None) -> bool:
        """Return whether a request's URL, below the base URL, or one of its contents names the client."""
        return self._is_segment(url.removeprefix(base_url)) or any(map(self._is_value, filter(None, contents)))

    def _is_segment(self, path: str) -> bool:
        if self.client_id not in path and "%" not in path:
            return False
        path = path.partition("#")[0].partition("?")[0]
        return any(unquote(segment) == self.client_id for segment in path.split("/"))

    def _is_value(self, content: bytes) -> bool:
        if self.needle not in content and b"\\" not in content:
            return False
        for text, end, colon in _STRING.findall(content.decode("utf-8", "replace")):
            if end and not colon and (text == self.client_id or ("\\" in text and _unescape(text) == self.client_id)):
                return True
        return False


def _unescape(text: str) -> str | None:
    try:
        unescaped: str = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return None
    return unescaped
