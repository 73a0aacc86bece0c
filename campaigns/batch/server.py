"""The server as the campaign controls it: killed, restarted at the same address, and without faults in the end."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections import Counter
from typing import Any, Final, Self
from urllib.parse import urlsplit

import attrs

from campaigns.batch.worker import Place, host
from campaigns.crash.play import running

_JSON: Final = {"Content-Type": "application/json"}


class Server:
    """One sandbox after another on one database; ``played`` counts the faults that occurred."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.played: Counter[str] = Counter()
        self.base_url = self.api_key = ""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def kill(self) -> None:
        """Kill it, including the requests that it is handling."""
        self._count_faults()
        self._stack.close()

    def revive(self) -> None:
        """Restart it with other faults."""
        self.place = attrs.evolve(self.place, seed=self.place.seed + 1, port=urlsplit(self.base_url).port or 0)
        self._start()

    def calm(self) -> None:
        """Stop all faults."""
        self._count_faults()
        self._call_control("faults", {"clear": True})
        self._call_control("requests", {"clear": True})

    def _start(self) -> None:
        _, answer = self._stack.enter_context(running(host, self.place))
        self.base_url, self.api_key = answer.recv()

    def _count_faults(self) -> None:
        for seen in self._call_control("requests")["requests"]:
            if seen["fault"] is not None:
                self.played[str(seen["status"]) if seen["fault"] == "status" else seen["fault"]] += 1

    def _call_control(self, what: str, values: object = None) -> Any:
        line = http.client.HTTPConnection(urlsplit(self.base_url).netloc)
        with contextlib.closing(line):
            body = None if values is None else json.dumps(values)
            line.request("GET" if values is None else "POST", f"/_sandbox/{what}", body, _JSON)
            response = line.getresponse()
            assert response.status == 200, response.read()
            return json.load(response)
