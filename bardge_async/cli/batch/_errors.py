"""Errors that end a command: invalid input, with lines and columns, and others, with a hint how to fix them."""

from __future__ import annotations

from typing import Any, Final

import attrs

MAX_SHOWN: Final = 20
"""Input errors that are printed; the rest are only counted."""
EXIT_BAD_INPUT: Final = 2


class CommandError(Exception):
    """End the command with a message, a hint how to fix it, and an exit code."""

    def __init__(self, message: str, hint: str = "", *, code: int = 1, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.request_id = request_id

    def format_lines(self) -> list[str]:
        """Return the error as text."""
        lines = [f"Error: {self.message}"]
        if self.hint:
            lines.append(self.hint)
        return lines if self.request_id is None else [*lines, f"Request id for the vendor's support: {self.request_id}"]

    def to_json(self) -> dict[str, Any]:
        """Return the error for JSON output."""
        # Machine format: the keys stay as they are, here and in subclasses.
        return {"message": self.message, "mend": self.hint or None, "request_id": self.request_id}


class UsageError(CommandError):
    """End the command because its arguments or files cannot be used."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, code=EXIT_BAD_INPUT)


class InvalidInputError(CommandError):
    """End the command because of errors in the input."""

    def __init__(self, errors: InputErrors) -> None:
        super().__init__(
            errors.format_summary(),
            "Nothing was sent. Correct the file and run the command again.",
            code=EXIT_BAD_INPUT,
        )
        self.errors = errors

    def format_lines(self) -> list[str]:
        """Return the first input errors, then how many there are."""
        return [*self.errors.format_lines(), *super().format_lines()]

    def to_json(self) -> dict[str, Any]:
        """Return the error for JSON output."""
        shown = [attrs.asdict(error) for error in self.errors.shown]
        return {**super().to_json(), "file": self.errors.file, "fault_count": self.errors.count, "faults": shown}


@attrs.frozen
class InputError:
    """One error in the input; lines are numbered as in an editor, the header is line 1."""

    # The names are printed as JSON keys.
    line: int | None
    column: str | None
    reason: str


class InputErrors:
    """Count input errors and keep the first ones."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self.shown: list[InputError] = []
        self._line: int | None = None
        self._columns: set[str | None] = set()

    def add_error(self, line: int | None, column: str | None, reason: str) -> None:
        """Add an error; a cell that is both id and field counts once."""
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
        """Return the first errors, one per line."""
        return [_format_error(self.file, error) for error in self.shown]

    def format_summary(self) -> str:
        """Return how many errors there are."""
        first = f"; the first {MAX_SHOWN} are shown" if self.count > MAX_SHOWN else ""
        return f"{self.file} has {self.count:,} error{'s' if self.count > 1 else ''}{first}."

    def raise_if_any(self) -> None:
        """End the command if there are any errors.

        Raises:
            InvalidInputError: There are errors.
        """
        if self.count:
            raise InvalidInputError(self)


def _format_error(file: str, error: InputError) -> str:
    line = "" if error.line is None else f", line {error.line}"
    column = "" if error.column is None else f", column {error.column}"
    return f"{file}{line}{column}: {error.reason}"
