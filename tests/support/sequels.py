"""A server in a thread of its own, which sends more than was asked for: it runs while the client's loop is busy."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

Sequel = Callable[[socket.socket], object]


def send_bytes(content: bytes) -> Sequel:
    """Send bytes behind an answer."""
    return lambda peer: peer.sendall(content)


def end_stream(peer: socket.socket) -> None:
    """End the connection in order."""
    peer.shutdown(socket.SHUT_WR)


def answer_purchase(client_id: str) -> bytes:
    """Return an answer to a purchase that names its client."""
    body = json.dumps({"balance": 1, "client_id": client_id}).encode()
    return b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class SequelServer:
    """Answer each purchase with its own client's id; ``add_sequel`` does more on the connection used last.

    ``tail`` is sent together with the first answer.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, tail: bytes = b"") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self._tail = tail
        self._last: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.connections = 0
        host = "localhost" if tls else "127.0.0.1"
        self.url = f"http{'s' if tls else ''}://{host}:{self._listener.getsockname()[1]}"

    def add_sequel(self, sequel: Sequel) -> None:
        """Do something on the connection that answered last; when this returns, it has arrived."""
        peer = self._last.get()
        while not self._last.empty():
            peer = self._last.get()
        sequel(peer)

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                # Else the kernel may hold back a sequel until the client acknowledges the answer.
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                thread = threading.Thread(target=self._serve_connection, args=(peer,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve_connection(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError), raw, contextlib.ExitStack() as stack:
            peer = stack.enter_context(self._tls.wrap_socket(raw, server_side=True)) if self._tls else raw
            stream = stack.enter_context(peer.makefile("rb"))
            while (client_id := _read_client_id(stream)) is not None:
                tail, self._tail = self._tail, b""
                peer.sendall(answer_purchase(client_id) + tail)
                self._last.put(peer)

    def close(self) -> None:
        # Only this wakes up a thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def _read_client_id(stream: Any) -> str | None:
    length = 0
    while (line := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return json.loads(stream.read(length))["client_id"] if length else None


@contextmanager
def run_sequel_server(**options: Any) -> Generator[SequelServer]:
    """Run a server in a thread."""
    server = SequelServer(**options)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
