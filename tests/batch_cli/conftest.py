"""An operator with a shell, a folder of files, and a sandbox served in a thread."""

from __future__ import annotations

import asyncio
import csv
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from bardge_async.cli._commands import bardge
from bardge_async.sandbox import Sandbox
from tests.support.server import ScriptedServer, Step, reply

BUY = ("--op", "credits.purchase")
PACKAGES = reply(200, {"object": "list", "data": [], "has_more": False})
Scripted = Callable[..., ScriptedServer]


@attrs.frozen
class Operator:
    """Run commands in a folder, and read the files they leave there."""

    folder: Path
    sandbox: Sandbox

    def write_file(self, content: str | bytes, name: str = "clients.csv") -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run_batch_command(self, *arguments: object, input: str | bytes | None = None) -> Result:
        """Run ``bardge batch``."""
        return CliRunner().invoke(bardge, ["batch", *map(str, arguments)], input=input)

    def run_file(self, content: str | bytes, *arguments: object, job: str = "j", name: str = "clients.csv") -> Result:
        """Make a purchase for each row of a file, without confirmation."""
        return self.run_batch_command(
            "run", self.write_file(content, name).name, *BUY, "--job", job, "--yes", *arguments
        )

    def run_json(self, *arguments: object) -> Any:
        """Run a command with ``--json``, and return what it prints."""
        return json.loads(self.run_batch_command(*arguments, "--json").stdout)

    def read_results(self, name: str = "clients.j.results.csv") -> list[dict[str, str]]:
        """Read a results file."""
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def read_statuses(self, name: str = "clients.j.results.csv") -> list[str]:
        """Read the statuses of a results file, in order."""
        return [row["status"] for row in self.read_results(name)]

    @property
    def purchase_count(self) -> int:
        """Return how many purchases arrived."""
        return sum(request.method == "POST" for request in self.sandbox.requests)


class Threaded:
    """Serve an async context manager in a thread."""

    def __init__(self, server: Sandbox | ScriptedServer) -> None:
        self._loop = asyncio.new_event_loop()
        self._server = server
        self._loop.run_until_complete(server.__aenter__())
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        asyncio.run_coroutine_threadsafe(self._server.__aexit__(None, None, None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def served() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    thread = Threaded(sandbox)
    yield sandbox
    thread.stop()


@pytest.fixture
def operator(served: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator whose environment points to the sandbox."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BARDGE_BASE_URL", served.base_url)
    monkeypatch.setenv("BARDGE_API_KEY", served.api_key)
    monkeypatch.delenv("BARDGE_TRACEBACK", raising=False)
    served.forget_requests()
    served.forget_keys()
    served.faults.clear()
    return Operator(tmp_path, served)


@pytest.fixture
def scripted(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """Serve a script instead of the sandbox."""
    running: list[Threaded] = []

    def start_server(*script: Step) -> ScriptedServer:
        server = ScriptedServer(*script)
        running.append(Threaded(server))
        monkeypatch.setenv("BARDGE_BASE_URL", server.base_url)
        return server

    yield start_server
    for thread in running:
        thread.stop()


def make_purchase_csv(count: int, package: str = "cpkg_50") -> str:
    """Make a CSV file of purchases."""
    return "id,client_id,package_id\n" + "".join(f"o{n},client_abc123,{package}\n" for n in range(1, count + 1))
