"""Where a job lives: its journal, what is noted of it, and the lock that its run holds."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any, Final, Self

import attrs

from bardge_async.cli.batch._errors import CommandError, UsageError

_FORMAT_VERSION: Final = 1
_MAX_NAME_LENGTH: Final = 100
_JOURNAL_SUFFIXES: Final = ("", "-wal", "-shm", "-journal", "-lock", ".job.json")
"""Ends of the names of a journal's files."""
_LOCK_ATTEMPTS: Final = 10
_LOCK_RETRY_SECONDS: Final = 0.02


def check_name(job: str) -> str:
    """Return a job's name without blanks around it.

    Raises:
        UsageError: It is empty, too long, or not printable.
    """
    name = job.strip()
    if not name or len(name) > _MAX_NAME_LENGTH or not name.isprintable():
        raise UsageError(f"--job: expected 1 to {_MAX_NAME_LENGTH} printable characters, got {job!r:.120}.")
    return name


def make_slug(text: str) -> str:
    """Make a part of a file's name; different texts may give the same one."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:40] or "job"


def jobs_folder() -> Path:
    """Name the folder of all jobs, by the XDG rules.

    Raises:
        CommandError: There is no home folder.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        # A relative path there is to be ignored (XDG Base Directory Specification).
        root = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        raise CommandError("There is no home folder to keep the journal in.", "Set XDG_STATE_HOME.") from None
    return root / "bardge" / "batch"


@attrs.frozen
class JobFacts:
    """What a later run, and the questions about a job, need to know."""

    job: str
    operation: str
    base_url: str
    account: str
    file: str
    spooled: bool
    stamp: list[int]
    rows: int
    id: str
    maps: dict[str, str]
    concurrency: int
    rate: float | None
    out: str
    journal: str

    def write_to(self, path: Path) -> None:
        """Write it whole, readable by the owner only."""
        write_atomically(path, json.dumps({"form": _FORMAT_VERSION, **attrs.asdict(self)}, indent=1).encode())

    @classmethod
    def read_from(cls, path: Path) -> Self | None:
        """Read it; None where nothing is on record.

        Raises:
            CommandError: It cannot be read.
        """
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
            if found.pop("form") != _FORMAT_VERSION:
                raise CommandError(
                    f"{path} was written by another version of bardge.", "Use that version for this job."
                )
            return cls(**found)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CommandError(f"{path} cannot be read: {error}.", "Move it away if it is damaged.") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file at once: nobody ever sees a part of it.

    Raises:
        CommandError: It cannot be written; the old one stays.
    """
    try:
        _replace_file(path, content)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None


def _replace_file(path: Path, content: bytes) -> None:
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@attrs.frozen
class JobFiles:
    """The files of one job at one server and account."""

    job: str
    base_url: str
    account: str
    folder: Path
    journal: Path

    @classmethod
    def for_job(cls, job: str, base_url: str, account: str, journal: Path | None) -> Self:
        """Name them; nothing is made."""
        digest = hashlib.sha256(f"{base_url}\x00{account}\x00{job}".encode()).hexdigest()[:12]
        folder = jobs_folder() / f"{make_slug(job)}-{digest}"
        own = folder / "journal.db" if journal is None else journal.absolute()
        return cls(job, base_url, account, folder, own)

    @property
    def facts_path(self) -> Path:
        """Where the job is described."""
        return self.folder / "job.json"

    @property
    def journal_owner_path(self) -> Path:
        """Where a journal of the user's own tells whose it is."""
        return self.journal.with_name(self.journal.name + ".job.json")

    @property
    def input_copy(self) -> Path:
        """Where a copy of standard input lies, which a resumed run needs."""
        return self.folder / "input"

    @property
    def incoming_input_copy(self) -> Path:
        """Where that copy is made, until the run begins."""
        return self.folder / "input.new"

    @property
    def lock_path(self) -> Path:
        """What a run holds."""
        return self.folder / "job.lock"

    def create_folders(self) -> None:
        """Make the folders, for the owner only.

        Raises:
            CommandError: They cannot be made.
        """
        try:
            for folder in (self.folder.parent.parent, self.folder.parent, self.folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
        except OSError as error:
            raise CommandError(f"{self.folder} cannot be made: {error.strerror}.", "Set XDG_STATE_HOME.") from None

    def load_facts(self) -> JobFacts | None:
        """Return what is on record of the job."""
        return JobFacts.read_from(self.facts_path)

    def save_facts(self, facts: JobFacts) -> None:
        """Keep what a later run needs to know.

        Raises:
            CommandError: It cannot be written.
        """
        # That one first: where it fails, the job is not bound to a journal that it never had.
        if self.journal.parent != self.folder:
            facts.write_to(self.journal_owner_path)
        facts.write_to(self.facts_path)

    def owns_path(self, path: Path) -> bool:
        """Tell whether a file is one of those that the job, or any other in the common folder, is remembered by."""
        found, journal = path.resolve(), self.journal.resolve()
        own = {journal.with_name(journal.name + end) for end in _JOURNAL_SUFFIXES}
        return found in own or found.is_relative_to(jobs_folder().resolve())

    def check_matches_record(self, operation: str) -> None:
        """See that the job goes on as what it was begun.

        Raises:
            UsageError: It was begun with another operation, or its journal is another one or another job's.
        """
        known = self.load_facts()
        if known is not None and known.operation != operation:
            raise UsageError(
                f"The job {self.job!r} is on record with --op {known.operation}.",
                "Give the new work a job name of its own.",
            )
        if known is not None and known.journal != str(self.journal):
            # With another journal nothing would be known as done.
            raise UsageError(
                f"The job {self.job!r} is on record in the journal {known.journal}.",
                f"Pass --journal {quote(known.journal)}, or give the new work a job name of its own.",
            )
        if not self.journal.parent.is_dir() and self.journal.parent != self.folder:
            raise UsageError(f"--journal: there is no folder {self.journal.parent}.")
        self._check_journal_owner(operation)

    def _check_journal_owner(self, operation: str) -> None:
        owner = JobFacts.read_from(self.journal_owner_path)
        expected = {"job": self.job, "base_url": self.base_url, "account": self.account, "operation": operation}
        for name, value in expected.items():
            if owner is not None and getattr(owner, name) != value:
                what = f"The journal {self.journal} belongs to the job {owner.job!r}"
                raise UsageError(f"{what} ({name}: {getattr(owner, name)!r}).", "Give each job a journal of its own.")


def iter_jobs() -> Iterator[JobFacts]:
    """Find all jobs on record; what cannot be read is left out."""
    with suppress(OSError, CommandError):
        for folder in sorted(jobs_folder().iterdir()):
            with suppress(OSError, CommandError):
                facts = JobFacts.read_from(folder / "job.json")
                if facts is not None:
                    yield facts


def find_job(job: str, base_url: str | None, account: str | None) -> JobFacts:
    """Find the one job of a name.

    Raises:
        UsageError: There is none, or several.
    """
    named = [facts for facts in iter_jobs() if facts.job == job.strip()]
    found = [f for f in named if base_url in {None, f.base_url} and account in {None, f.account}]
    places = "".join(f"\n  --base-url {f.base_url}" + f" --account {f.account!r}" * bool(f.account) for f in named)
    if not named:
        jobs = ", ".join(sorted({facts.job for facts in iter_jobs()})) or "none"
        raise UsageError(f"No job is named {job!r:.120}.", f"On record: {jobs}.")
    if not found:
        raise UsageError(f"The job {job!r} is not on record for that server and account.", f"It is for:{places}")
    if len(found) > 1:
        raise UsageError(f"The job {job!r} is on record for several servers or accounts.", f"Pick one:{places}")
    return found[0]


class JobLock:
    """Keep a second run of a job out; the system frees it when the process ends, however that is."""

    def __init__(self, path: Path, job: str) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._acquire_lock(job)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._file)

    def _acquire_lock(self, job: str) -> None:
        if not self._try_acquire():
            pid = os.pread(self._file, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise CommandError(
                f"The job {job!r} is being run by process {pid}.", "Wait for it, or stop it with Ctrl-C."
            )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def _try_acquire(self) -> bool:
        for _ in range(_LOCK_ATTEMPTS):
            with suppress(BlockingIOError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            # Somebody may just have looked whether the job is run.
            time.sleep(_LOCK_RETRY_SECONDS)
        return False


def find_running_pid(path: Path) -> int | None:
    """Return the process that runs a job; None if nobody does."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(file, 20, 0).decode().strip() or 0)
    else:
        return None
    finally:
        os.close(file)
