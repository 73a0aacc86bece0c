"""What ends a command: faults of the input, each with its place, and other stops with the way to mend them."""

from __future__ import annotations

from typing import Any, Final

import attrs

MAX_SHOWN: Final = 20
"""Faults that are told; the others are counted."""
EXIT_BAD_INPUT: Final = 2


class CommandError(Exception):
    """End the command with a message, how to mend it, and an exit code."""

    def __init__(self, message: str, hint: str = "", *, code: int = 1, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.request_id = request_id

    def format_lines(self) -> list[str]:
        """Tell it to people."""
        lines = [f"Error: {self.message}"]
        if self.hint:
            lines.append(self.hint)
        return lines if self.request_id is None else [*lines, f"Request id for the vendor's support: {self.request_id}"]

    def to_json(self) -> dict[str, Any]:
        """Tell it to programs."""
        return {"message": self.message, "mend": self.hint or None, "request_id": self.request_id}


class UsageError(CommandError):
    """End the command because of how it was called."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, code=EXIT_BAD_INPUT)


class InvalidInputError(CommandError):
    """End the command because of the input's faults."""

    def __init__(self, errors: InputErrors) -> None:
        super().__init__(
            errors.format_summary(), "Nothing was sent. Mend the file and run the command again.", code=EXIT_BAD_INPUT
        )
        self.errors = errors

    def format_lines(self) -> list[str]:
        """Tell the first faults, then how many there are."""
        return [*self.errors.format_lines(), *super().format_lines()]

    def to_json(self) -> dict[str, Any]:
        """Tell it to programs."""
        shown = [attrs.asdict(error) for error in self.errors.shown]
        return {**super().to_json(), "file": self.errors.file, "fault_count": self.errors.count, "faults": shown}


@attrs.frozen
class InputError:
    """One fault of the input; lines count as in an editor, the header is 1."""

    line: int | None
    column: str | None
    reason: str


class InputErrors:
    """Count faults and keep the first ones."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self.shown: list[InputError] = []
        self._line: int | None = None
        self._columns: set[str | None] = set()

    def add_error(self, line: int | None, column: str | None, reason: str) -> None:
        """Count one more; a cell that is both id and field is faulty once."""
        if line != self._line:
            self._line = line
            self._columns.clear()
        elif column is not None and column in self._columns:
            return
        self._columns.add(column)
        self.count += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append(InputError(line, column, reason))

    def format_lines(self) -> list[str]:
        """Tell the first ones, a line each."""
        return [_format_error(self.file, error) for error in self.shown]

    def format_summary(self) -> str:
        """Tell how many there are."""
        first = f"; the first {MAX_SHOWN} are shown" if self.count > MAX_SHOWN else ""
        return f"{self.file} has {self.count:,} fault{'s' if self.count > 1 else ''}{first}."

    def raise_if_any(self) -> None:
        """End the command if there are any.

        Raises:
            InvalidInputError: There are.
        """
        if self.count:
            raise InvalidInputError(self)


def _format_error(file: str, error: InputError) -> str:
    line = "" if error.line is None else f", line {error.line}"
    column = "" if error.column is None else f", column {error.column}"
    return f"{file}{line}{column}: {error.reason}"
