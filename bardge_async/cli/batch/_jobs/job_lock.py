"""The lock that a run of a job holds; the system releases it however the process ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final, Self

import filelock

from bardge_async.cli.batch._errors import CommandError

_LOCK_ATTEMPTS: Final = 10
_LOOK_ATTEMPTS: Final = 3
_RETRY_SECONDS: Final = 0.02
# On Windows the first byte is what is locked, and others cannot read it.
_PID_OFFSET: Final = 1 if sys.platform == "win32" else 0


class JobLock:
    """Prevent a second run of a job."""

    def __init__(self, path: Path, job: str) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
        try:
            self._acquire_lock(path, job)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._file)

    def _acquire_lock(self, path: Path, job: str) -> None:
        # Others may be in find_running_pid, which takes the lock for a moment.
        if not _try_lock(self._file, path, _LOCK_ATTEMPTS):
            raise CommandError(
                f"The job {job!r} is being run by process {_read_pid(self._file) or 'unknown'}.",
                "Wait for it, or stop it with Ctrl-C.",
            )
        try:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, _PID_OFFSET, os.SEEK_SET)
            os.write(self._file, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None


def find_running_pid(path: Path) -> int | None:
    """Return the id of the process that runs a job; None if it is not running."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try_lock(file, path, _LOOK_ATTEMPTS) else int(_read_pid(file) or 0)
    finally:
        os.close(file)


def _try_lock(file: int, path: Path, attempts: int) -> bool:
    """Lock the file, by ``flock`` where the system has it. Never by a soft lock: that would outlive its process."""
    try:
        for attempt in range(attempts):
            if attempt:
                time.sleep(_RETRY_SECONDS)
            if filelock.lock_descriptor(file, blocking=False):
                return True
    except OSError as error:
        raise CommandError(
            f"{path} cannot be locked: {error.strerror}.", "Use a folder on a local disk for the jobs."
        ) from None
    return False


def _read_pid(file: int) -> str:
    os.lseek(file, _PID_OFFSET, os.SEEK_SET)
    return os.read(file, 20).decode(errors="replace").strip()
