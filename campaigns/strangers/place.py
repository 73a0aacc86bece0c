"""Where a third-party tool runs: a folder, installation by pip and npm, the document, a sandbox in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

import attrs

from bardge_async.openapi import document

INSTALLING: Final = 180
ROOT: Final = Path(__file__).resolve().parent.parent.parent


class Fault(Exception):  # noqa: N818 - it is a finding
    """A tool found something or did not finish; the message is its output."""


@attrs.frozen
class Place:
    """A tool's folder, and the interpreter for its venv."""

    folder: Path
    python: str

    def document(self, server: str) -> Path:
        """Write the document for a server."""
        path = self.folder / "openapi.json"
        path.write_text(json.dumps(document(server)), encoding="utf-8")
        return path

    def pip(self, *packages: str) -> Path:
        """Install packages into a venv of their own; return its folder of commands."""
        commands = self.folder / "venv" / "bin"
        if not commands.is_dir():
            self.command(self.python, "-m", "venv", str(self.folder / "venv"), seconds=INSTALLING)
            self.command(str(commands / "pip"), "install", "-q", *packages, seconds=INSTALLING)
        return commands

    def npm(self, *packages: str) -> Path:
        """Install npm packages; return their folder of commands."""
        commands = self.folder / "node_modules" / ".bin"
        if not commands.is_dir():
            quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(self.folder))
            self.command("npm", "install", *quiet, *packages, seconds=INSTALLING)
        return commands

    def command(self, *words: str, seconds: float, variables: Mapping[str, str] | None = None) -> str:
        """Run a command in the folder and return its output.

        Raises:
            Fault: It failed, or took longer than ``seconds``.
        """
        try:
            completed = subprocess.run(
                words,
                cwd=self.folder,
                env={**os.environ, **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            printed = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
            raise Fault(f"{words[0]} took longer than {seconds:g} s\n{printed}") from None
        if completed.returncode:
            raise Fault(f"{' '.join(words[:3])} ... exited with {completed.returncode}\n{completed.stdout}")
        return completed.stdout


@contextlib.contextmanager
def sandbox() -> Generator[tuple[str, str]]:
    """Serve a sandbox; yield its base URL and API key.

    Raises:
        Fault: The sandbox reported an internal error.
    """
    words = [sys.executable, "-m", "bardge_async", "sandbox", "--port", "0"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            printed = dict(process.stdout.readline().strip().partition("=")[::2] for _ in range(2))
            yield printed["BARDGE_BASE_URL"], printed["BARDGE_API_KEY"]
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=20)
    if "The behaviour of" in errors:
        raise Fault(f"the sandbox failed:\n{errors}")


def last_lines(text: str, count: int) -> str:
    """Return the last lines of a tool's output."""
    return "\n".join(text.rstrip().splitlines()[-count:])
