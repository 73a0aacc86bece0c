"""Ctrl-C in any ``bardge journal`` command: one line, 130, and nothing changed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bardge_async.cli._commands import journal

# It reads a file only.
COMMANDS = sorted(set(journal.commands) - {"verify"})


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


def interrupt(arguments: list[str], server: socket.socket, number: signal.Signals) -> tuple[int, str]:
    """Run a command, send the signal once it waits for the server, and return its exit code and messages."""
    command = [sys.executable, "-W", "error", "-m", "bardge_async", *arguments]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
    return process.returncode, errors


@pytest.mark.parametrize("name", COMMANDS)
def test_interrupt_ends_with_130(silent: socket.socket, name: str) -> None:
    """While a command waits for the journal's database, Ctrl-C ends it without a traceback."""
    url = f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/database"
    positional = [param.name for param in journal.commands[name].params if isinstance(param, click.Argument)]
    arguments = [url if param == "path" else "key" for param in positional]
    options = ["--done"] if name == "resolve" else []
    assert interrupt(["journal", name, *arguments, *options], silent, signal.SIGINT) == (130, "Interrupted.\n")


def test_request_to_end_is_obeyed(silent: socket.socket) -> None:
    """SIGTERM ends a command as it ends any other."""
    url = f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/database"
    assert interrupt(["journal", "list", url], silent, signal.SIGTERM) == (-signal.SIGTERM, "")
