"""The connection between workers and database: a TCP proxy on loopback that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Self


class Line:
    """Forward bytes to a port of this machine, until cut.

    A cut line resets open connections and refuses new ones. A stalled line forwards nothing in either direction, also
    on new connections, and resets all of them when it is restored.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.port = port
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset open connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reset()

    def stall(self) -> None:
        """Stop forwarding, without closing any connection."""
        self._flowing.clear()

    async def restore(self) -> None:
        """Restore the line."""
        if not self._flowing.is_set():
            self._reset()
            self._flowing.set()
        if self._server is None:
            await self._listen()

    def _reset(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(back)
            await asyncio.gather(self._forward(reader, back), self._forward(there, writer))
            self._open.discard(back)
        self._open.discard(writer)
        self._tasks.discard(task)

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flowing.wait()
                target.write(data)
                await target.drain()
        finally:
            target.transport.abort()


def carry(target: int, talk: Any) -> None:
    """Run a line, controlled over a pipe, until killed."""
    asyncio.run(_run_line(target, talk))


async def _run_line(target: int, talk: Any) -> None:
    async with Line(target) as line:
        talk.send(line.port)
        while True:
            command = await asyncio.to_thread(talk.recv)
            if command == "restore":
                await line.restore()
            else:
                getattr(line, command)()
            talk.send(command)
