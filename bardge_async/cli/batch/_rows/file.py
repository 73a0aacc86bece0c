"""The input file: held open, read several times, and checked for changes; pipes are copied first."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Final, Self, TextIO, TypeAlias

from bardge_async.cli.batch._errors import CommandError, UsageError

ErrorReporter: TypeAlias = Callable[[int | None, str | None, str], None]
"""Receives an input error: its line, column and reason."""

STDIN: Final = "-"
MAX_LINE_LENGTH: Final = 1024 * 1024
"""Maximum characters of a line; no request may be larger either."""
# Longer marks first: UTF-32's starts with UTF-16's.
_ENCODING_MARKS: Final[dict[bytes, str]] = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_COMPRESSED: Final = {
    b"PK\x03\x04": "Save the sheet as CSV (UTF-8).",
    b"\x1f\x8b": "Decompress it: zcat FILE | bardge batch run - ...",
}
_OWNER_ONLY: Final = 0o600
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)
"""Windows translates line ends otherwise."""
_BYTE_ORDER_MARK: Final = "\ufeff"


class InputFile:
    """A text file that is read line by line, any number of times, and must not change meanwhile.

    ``name`` stands for it in messages.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        try:
            self._file = os.open(path, os.O_RDONLY | _BINARY)
        except OSError as error:
            raise UsageError(f"{name} cannot be read: {error.strerror}.") from None
        self.stamp = _read_stamp(os.fstat(self._file))

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.stamp[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._file)

    def check_unchanged(self) -> None:
        """Check that the file has not changed since it was opened.

        Raises:
            CommandError: It was changed or replaced.
        """
        found = [_read_stamp(os.fstat(self._file))]
        with suppress(FileNotFoundError):
            # A file that was removed can still be read through the open descriptor.
            found.append(_read_stamp(self.path.stat()))
        if any(stamp != self.stamp for stamp in found):
            raise self.make_changed_error()

    def make_changed_error(self) -> CommandError:
        """Return the error for a file that has changed."""
        return CommandError(f"{self.name} was changed while it was read.", "Restore the file and run the job again.")

    def read_lines(self, report: ErrorReporter) -> Iterator[str]:
        """Yield the lines from the start, including line ends; invalid UTF-8 is reported and replaced.

        Raises:
            UsageError: It is not text.
        """
        self._check_head()
        with open(self._file, encoding="utf-8-sig", errors="surrogateescape", newline="", closefd=False) as text:
            number = 0
            while line := text.readline(MAX_LINE_LENGTH):
                number += 1
                if "\0" in line or len(line) >= MAX_LINE_LENGTH:
                    raise self._make_binary_error(number, holds_nul="\0" in line)
                yield line if line.isascii() else self._decode_line(line, number, report)

    def read_first_character(self) -> str:
        """Return the first non-blank character; empty if there is none."""
        for line in self.read_lines(_ignore_error):
            if found := line.strip():
                return found[0]
        return ""

    def _check_head(self) -> None:
        os.lseek(self._file, 0, os.SEEK_SET)
        head = os.read(self._file, 4)
        os.lseek(self._file, 0, os.SEEK_SET)
        for mark, encoding in _ENCODING_MARKS.items():
            if head.startswith(mark):
                raise UsageError(
                    f"{self.name}, line 1: the file is {encoding}, not UTF-8.", self._suggest_conversion(encoding)
                )
        for mark, how in _COMPRESSED.items():
            if head.startswith(mark):
                raise UsageError(f"{self.name} is compressed, not text.", how)

    def _suggest_conversion(self, encoding: str) -> str:
        return f"Convert it: iconv -f {encoding} -t UTF-8 {quote(self.name)} > utf8.csv"

    def _make_binary_error(self, number: int, *, holds_nul: bool) -> UsageError:
        if holds_nul:
            what = "it contains NUL bytes; the file is damaged, not text, or UTF-16 without a byte order mark"
            return UsageError(f"{self.name}, line {number}: {what}.", self._suggest_conversion("UTF-16LE"))
        return UsageError(
            f"{self.name}, line {number}: it has more than {MAX_LINE_LENGTH:,} characters.", "Is it a CSV file?"
        )

    def _decode_line(self, line: str, number: int, report: ErrorReporter) -> str:
        try:
            line.encode()
        except UnicodeEncodeError as error:
            # surrogateescape decodes byte 0xNN as U+DCNN.
            byte = ord(line[error.start]) - 0xDC00
            report(number, None, f"it is not UTF-8 (byte 0x{byte:02X}). {self._suggest_conversion('WINDOWS-1252')}")
            return line.encode(errors="surrogateescape").decode(errors="replace")
        if _BYTE_ORDER_MARK in line:
            report(number, None, "it contains an invisible byte order mark (U+FEFF); were files joined? Remove it")
        return line


def _read_stamp(status: os.stat_result) -> list[int]:
    """Return what changes with the content: size, modification time in nanoseconds, inode number."""
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _ignore_error(line: int | None, column: str | None, reason: str) -> None:
    """Ignore an error that is reported elsewhere."""


def is_rereadable(file: str) -> bool:
    """Return whether a file can be read again; standard input and pipes cannot.

    Raises:
        UsageError: There is no such file, or it is a directory.
    """
    if file == STDIN:
        return False
    try:
        mode = Path(file).stat().st_mode
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
    if stat.S_ISDIR(mode):
        raise UsageError(f"{file} is a directory.", "Name a file, or - for standard input.")
    return stat.S_ISREG(mode)


def require_stdin() -> TextIO:
    """Return standard input.

    Raises:
        UsageError: The command was started without it.
    """
    found: TextIO | None = sys.stdin
    if found is None:
        raise UsageError("There is no standard input.", "Name a file.")
    return found


def copy_input(file: str, target_path: Path) -> None:
    """Copy an input that can be read only once to a new file, readable by the owner only.

    Raises:
        UsageError: There is no standard input.
        CommandError: It cannot be read, or the copy cannot be written.
    """
    target_path.unlink(missing_ok=True)
    try:
        copy = os.open(target_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, _OWNER_ONLY)
        with os.fdopen(copy, "wb") as target:
            if file == STDIN:
                shutil.copyfileobj(require_stdin().buffer, target, MAX_LINE_LENGTH)
            else:
                with Path(file).open("rb") as pipe:
                    shutil.copyfileobj(pipe, target, MAX_LINE_LENGTH)
    except OSError as error:
        raise CommandError(f"{file} cannot be copied to {target_path}: {error.strerror}.") from None
