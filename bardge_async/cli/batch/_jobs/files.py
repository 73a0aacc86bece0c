"""A job's files: its journal and its description."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, Final, Self

import attrs

from bardge_async._core.settings import normalize_base_url
from bardge_async.cli.batch._errors import CommandError, UsageError
from bardge_async.cli.batch._jobs.job_lock import JobLock
from bardge_async.cli.batch._jobs.merging import merge_journals
from bardge_async.errors import JournalError

_FORMAT_VERSION: Final = 1
_MAX_NAME_LENGTH: Final = 100
_FACTS_NAME: Final = "job.json"
_LOCK_NAME: Final = "job.lock"
_INCOMING_NAME: Final = "input.new"
_OWNER_SUFFIX: Final = ".job.json"
_JOURNAL_SUFFIXES: Final = ("", "-wal", "-shm", "-journal", "-lock", _OWNER_SUFFIX)
"""Suffixes of a journal's files."""


def check_name(job: str) -> str:
    """Return a job's name without surrounding whitespace.

    Raises:
        UsageError: It is empty, too long, or not printable.
    """
    name = job.strip()
    if not name or len(name) > _MAX_NAME_LENGTH or not name.isprintable():
        raise UsageError(f"--job: expected 1 to {_MAX_NAME_LENGTH} printable characters, got {job!r:.120}.")
    return name


def make_slug(text: str) -> str:
    """Make text safe for a file name; different texts may give the same slug."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:40] or "job"


def jobs_folder() -> Path:
    """Return the folder of all jobs: on Linux by the XDG Base Directory Specification, elsewhere where the system wants it.

    It must never move: a job in a folder that is no longer looked at is forgotten, and its rows are sent again.

    Raises:
        CommandError: There is no home directory.
    """
    return (_linux_state_folder() if sys.platform == "linux" else _system_state_folder()) / "batch"


def _linux_state_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        # The specification says to ignore a relative path.
        root = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        raise CommandError("There is no home directory for the journal.", "Set XDG_STATE_HOME.") from None
    return root / "bardge"


def _system_state_folder() -> Path:
    import platformdirs

    return platformdirs.user_state_path("bardge", appauthor=False)


def make_private_folder(folder: Path) -> None:
    """Make a folder and its missing parents, accessible to the owner only, whatever the umask."""
    if folder.exists():
        return
    make_private_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)


@attrs.frozen
class JobFacts:
    """The description of a job, stored as ``job.json`` for later runs and the job commands."""

    # The names are the keys of job.json: renaming one makes older jobs unreadable.
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
        """Write the description atomically, readable by the owner only."""
        write_atomically(path, json.dumps({"form": _FORMAT_VERSION, **attrs.asdict(self)}, indent=1).encode())

    @classmethod
    def read_from(cls, path: Path) -> Self | None:
        """Read a description; None if there is none.

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
    """Replace a file atomically: readers never see a partial file.

    Raises:
        CommandError: It cannot be written; the old file stays.
    """
    try:
        with replacing_file(path) as file:
            file.write(content)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None


@contextmanager
def replacing_file(path: Path) -> Generator[BinaryIO]:
    """Yield a file beside ``path`` that takes its place when the body ends, and is removed when it raises."""
    # In the same folder: a rename is atomic only within a file system.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            # Before the rename: a crash could otherwise leave an empty file.
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@attrs.frozen
class JobFiles:
    """The files of one job for one server and account."""

    job: str
    base_url: str
    account: str
    folder: Path
    journal: Path

    @classmethod
    def for_job(cls, job: str, base_url: str, account: str, journal: Path | None) -> Self:
        """Return the paths; nothing is created, but a folder under another spelling of the base URL is moved there."""
        base_url = normalize_base_url(base_url)
        # The digest separates servers, accounts, and names with the same slug.
        digest = hashlib.sha256(f"{base_url}\x00{account}\x00{job}".encode()).hexdigest()[:12]
        folder = jobs_folder() / f"{make_slug(job)}-{digest}"
        for known, facts in list(_iter_folders()):
            is_respelled = facts.base_url != base_url and normalize_base_url(facts.base_url) == base_url
            if is_respelled and (facts.job, facts.account) == (job, account):
                _adopt_folder(known, facts, folder, base_url)
        own = folder / "journal.db" if journal is None else journal.absolute()
        return cls(job, base_url, account, folder, own)

    @property
    def facts_path(self) -> Path:
        """The job's description."""
        return self.folder / _FACTS_NAME

    @property
    def journal_owner_path(self) -> Path:
        """The description next to a journal given by --journal; it names the job that the journal belongs to."""
        return self.journal.with_name(self.journal.name + _OWNER_SUFFIX)

    @property
    def input_copy(self) -> Path:
        """The copy of standard input, which a resumed run needs."""
        return self.folder / "input"

    @property
    def incoming_input_copy(self) -> Path:
        """That copy until the run starts."""
        return self.folder / _INCOMING_NAME

    @property
    def lock_path(self) -> Path:
        """The file that a run locks."""
        return self.folder / _LOCK_NAME

    def create_folders(self) -> None:
        """Create the folders, accessible to the owner only.

        Raises:
            CommandError: They cannot be created.
        """
        try:
            make_private_folder(self.folder)
            self.folder.chmod(0o700)
        except OSError as error:
            hint = "Set XDG_STATE_HOME." if sys.platform == "linux" else ""
            raise CommandError(f"{self.folder} cannot be created: {error.strerror}.", hint) from None

    def load_facts(self) -> JobFacts | None:
        """Return the job's description; None if there is none."""
        return JobFacts.read_from(self.facts_path)

    def save_facts(self, facts: JobFacts) -> None:
        """Store the job's description.

        Raises:
            CommandError: It cannot be written.
        """
        # This one first: if it fails, the job is not bound to a journal that it never used.
        if self.journal.parent != self.folder:
            facts.write_to(self.journal_owner_path)
        facts.write_to(self.facts_path)

    def owns_path(self, path: Path) -> bool:
        """Return whether a path is one of this job's own files, or in the folder of all jobs."""
        found, journal = path.resolve(), self.journal.resolve()
        own = {journal.with_name(journal.name + end) for end in _JOURNAL_SUFFIXES}
        return found in own or found.is_relative_to(jobs_folder().resolve())

    def check_matches_record(self, operation: str) -> None:
        """Check that operation and journal are those that the job was started with.

        Raises:
            UsageError: The operation or the journal is another one, or the journal belongs to another job.
        """
        known = self.load_facts()
        if known is not None and known.operation != operation:
            raise UsageError(
                f"The job {self.job!r} was started with --op {known.operation}.",
                "Use another job name for the new work.",
            )
        if known is not None and known.journal != str(self.journal):
            # With another journal, completed rows would be sent again.
            raise UsageError(
                f"The job {self.job!r} uses the journal {known.journal}.",
                f"Pass --journal {quote(known.journal)}, or use another job name for the new work.",
            )
        if not self.journal.parent.is_dir() and self.journal.parent != self.folder:
            raise UsageError(f"--journal: the folder {self.journal.parent} does not exist.")
        # Opening a pipe would wait for its other end.
        if self.journal.exists() and not self.journal.is_file():
            raise UsageError(f"--journal: {self.journal} is not a regular file.", "Name a file.")
        self._check_journal_owner(operation)

    def _check_journal_owner(self, operation: str) -> None:
        owner = JobFacts.read_from(self.journal_owner_path)
        expected = {"job": self.job, "base_url": self.base_url, "account": self.account, "operation": operation}
        for name, value in expected.items():
            if owner is not None and getattr(owner, name) != value:
                what = f"The journal {self.journal} belongs to the job {owner.job!r}"
                raise UsageError(f"{what} ({name}: {getattr(owner, name)!r}).", "Use a separate journal for each job.")


def iter_jobs() -> Iterator[JobFacts]:
    """Yield all recorded jobs; unreadable ones are skipped."""
    for _, facts in _iter_folders():
        yield facts


def _iter_folders() -> Iterator[tuple[Path, JobFacts]]:
    with suppress(OSError, CommandError):
        for folder in sorted(jobs_folder().iterdir()):
            with suppress(OSError, CommandError):
                facts = JobFacts.read_from(folder / _FACTS_NAME)
                if facts is not None:
                    yield folder, facts


def _adopt_folder(old: Path, facts: JobFacts, folder: Path, base_url: str) -> None:
    """Move a job's folder from another spelling of its base URL to the one in use, or merge it with that.

    Raises:
        CommandError: The job is running, or its files cannot be moved.
    """
    try:
        with JobLock(old / _LOCK_NAME, facts.job):
            known = None if folder == old else JobFacts.read_from(folder / _FACTS_NAME)
            if known is None:
                _move_folder(old, facts, folder, base_url)
            else:
                _merge_folder(old, facts, folder, known)
    except OSError as error:
        raise CommandError(f"{old} cannot be moved to {folder}: {error.strerror}.") from None
    except JournalError as error:
        raise CommandError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None


def _move_folder(old: Path, facts: JobFacts, folder: Path, base_url: str) -> None:
    if folder != old:
        if folder.exists():
            # Left by a run that did not start.
            for name in (_LOCK_NAME, _INCOMING_NAME):
                (folder / name).unlink(missing_ok=True)
        old.rename(folder)
    # Relative to wherever the folder was, also if a crash came between the move and this.
    own = Path(facts.journal)
    is_inside = own.parent.parent == folder.parent
    journal = folder / own.name if is_inside else own
    moved = attrs.evolve(facts, base_url=base_url, journal=str(journal))
    if not is_inside:
        moved.write_to(journal.with_name(journal.name + _OWNER_SUFFIX))
    moved.write_to(folder / _FACTS_NAME)


def _merge_folder(old: Path, facts: JobFacts, folder: Path, known: JobFacts) -> None:
    with JobLock(folder / _LOCK_NAME, facts.job):
        source = Path(facts.journal)
        if source.parent != old and not source.exists():
            # Without it, rows that are done would be sent again.
            raise CommandError(f"The journal {source} of the job {facts.job!r} is missing.", "Restore it.")
        if source != Path(known.journal) and source.exists():
            merge_journals(source, Path(known.journal))
        shutil.rmtree(old)


def find_job(job: str, base_url: str | None, account: str | None) -> JobFacts:
    """Find a job by its name, and its server and account where these are given.

    Raises:
        UsageError: There is no such job, or several.
    """
    named = [_find_moved(facts) for facts in list(iter_jobs()) if facts.job == job.strip()]
    named = list({(facts.base_url, facts.account): facts for facts in named}.values())
    found = [f for f in named if base_url in {None, f.base_url} and account in {None, f.account}]
    places = "".join(f"\n  --base-url {f.base_url}" + f" --account {f.account!r}" * bool(f.account) for f in named)
    if not named:
        jobs = ", ".join(sorted({facts.job for facts in iter_jobs()})) or "none"
        raise UsageError(f"No job is named {job!r:.120}.", f"Recorded jobs: {jobs}.")
    if not found:
        raise UsageError(f"The job {job!r} does not exist for that server and account.", f"It exists for:{places}")
    if len(found) > 1:
        raise UsageError(f"The job {job!r} exists for several servers or accounts.", f"Select one:{places}")
    return found[0]


def _find_moved(facts: JobFacts) -> JobFacts:
    """Return a job's description from its folder, which is moved there if its base URL is spelled otherwise."""
    if facts.base_url == normalize_base_url(facts.base_url):
        return facts
    return JobFiles.for_job(facts.job, facts.base_url, facts.account, None).load_facts() or facts
