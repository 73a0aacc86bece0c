"""How a command talks: to people on standard error, to programs on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import attrs
import click


@attrs.frozen
class Voice:
    """Talk; a reader who has gone away does not end the work."""

    as_json: bool = False

    def say(self, *lines: str) -> None:
        """Tell people."""
        with suppress(OSError):
            for line in lines:
                click.echo(printable(line), err=True)

    def answer(self, value: dict[str, Any] | list[dict[str, Any]], lines: Iterable[str] = ()) -> None:
        """Give the result: JSON on standard output if that was asked for, else lines for people there."""
        with suppress(OSError):
            if self.as_json:
                click.echo(json.dumps(value, default=str))
            else:
                for line in lines:
                    click.echo(printable(line))


def printable(text: str) -> str:
    """Spell out what would move the terminal's cursor or worse: files and servers may send anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
