"""What ends a command: faults of the input, each with its place, and other stops with the way to mend them."""

from __future__ import annotations

from typing import Any, Final

import attrs

SHOWN: Final = 20
"""Faults that are told; the others are counted."""
BAD_INPUT: Final = 2


class StopError(Exception):
    """End the command with a message, how to mend it, and an exit code."""

    def __init__(self, message: str, mend: str = "", *, code: int = 1, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.code = code
        self.request_id = request_id

    def lines(self) -> list[str]:
        """Tell it to people."""
        told = [f"Error: {self.message}"]
        if self.mend:
            told.append(self.mend)
        return told if self.request_id is None else [*told, f"Request id for the vendor's support: {self.request_id}"]

    def facts(self) -> dict[str, Any]:
        """Tell it to programs."""
        return {"message": self.message, "mend": self.mend or None, "request_id": self.request_id}


class UsageError(StopError):
    """End the command because of how it was called."""

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message, mend, code=BAD_INPUT)


class BadInputError(StopError):
    """End the command because of the input's faults."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults.summary(), "Nothing was sent. Mend the file and run the command again.", code=BAD_INPUT)
        self.faults = faults

    def lines(self) -> list[str]:
        """Tell the first faults, then how many there are."""
        return [*self.faults.words(), *super().lines()]

    def facts(self) -> dict[str, Any]:
        """Tell it to programs."""
        shown = [attrs.asdict(fault) for fault in self.faults.shown]
        return {**super().facts(), "file": self.faults.file, "fault_count": self.faults.count, "faults": shown}


@attrs.frozen
class Fault:
    """One fault of the input; lines count as in an editor, the header is 1."""

    line: int | None
    column: str | None
    reason: str


class Faults:
    """Count faults and keep the first ones."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self.shown: list[Fault] = []
        self._line: int | None = None
        self._columns: set[str | None] = set()

    def add(self, line: int | None, column: str | None, reason: str) -> None:
        """Count one more; a cell that is both id and field is faulty once."""
        if line != self._line:
            self._line = line
            self._columns.clear()
        elif column is not None and column in self._columns:
            return
        self._columns.add(column)
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(Fault(line, column, reason))

    def words(self) -> list[str]:
        """Tell the first ones, a line each."""
        return [_words(self.file, fault) for fault in self.shown]

    def summary(self) -> str:
        """Tell how many there are."""
        first = f"; the first {SHOWN} are shown" if self.count > SHOWN else ""
        return f"{self.file} has {self.count:,} fault{'s' if self.count > 1 else ''}{first}."

    def stop(self) -> None:
        """End the command if there are any.

        Raises:
            BadInputError: There are.
        """
        if self.count:
            raise BadInputError(self)


def _words(file: str, fault: Fault) -> str:
    line = "" if fault.line is None else f", line {fault.line}"
    column = "" if fault.column is None else f", column {fault.column}"
    return f"{file}{line}{column}: {fault.reason}"
