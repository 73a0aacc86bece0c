"""The numbers of a journal's commits, by which an older copy and a log that is too short are noticed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

from bardge_async._journal.sqlite_clocks import select_fact, store_fact
from bardge_async._journal.sqlite_locks import LockRecord
from bardge_async.errors import JournalError


class CommitNumber(NamedTuple):
    """The number of the last commit, and of one that was in the main file, not only in the log, when it was made."""

    commits: int = 0
    moved: int = 0


def read_commit_number(connection: sqlite3.Connection) -> CommitNumber:
    """Return the number of the last commit; 0 for a file of a version that did not number them.

    Raises:
        JournalError: It is damaged.
    """
    stored = select_fact(connection, "commits")
    return CommitNumber() if stored is None else CommitNumber(*map(int, stored.split()))


def store_commit_number(connection: sqlite3.Connection, number: CommitNumber) -> None:
    """Number the transaction that is about to be committed."""
    store_fact(connection, "commits", b"%d %d" % number)


def find_loss(found: CommitNumber, main: CommitNumber | None, record: LockRecord) -> str | None:
    """Return what is missing in a file: commits that ``-lock`` says were acknowledged, or those before its log's."""
    if found.commits < record.commits:
        return f"it ends with commit {found.commits}, and commit {record.commits} was acknowledged"
    if main is not None and main.commits < found.moved:
        return f"its log begins after commit {found.moved}, and the file without it ends with commit {main.commits}"
    return None


def loss_error(path: Path, loss: str) -> JournalError:
    """Build the error for a file that lacks something, with what to do."""
    return JournalError(
        f"{path}: the journal is older than it was ({loss}): its log was removed or cut, or an older copy was restored. "
        f"Put the files back that belong together. Only if there are none, take it as it is with 'bardge journal verify "
        f"--accept {path}': what it lost may then be sent again"
    )


def gone_error(path: Path, what: str, record: LockRecord) -> JournalError:
    """Build the error for a file that is missing or empty and was neither, with what to do."""
    return JournalError(
        f"{path}: the journal is {what}, and {path.name}-lock says that it had {record.commits} commits; put it back. Only "
        f"if it is gone for good, remove {path.name}-lock and begin a new journal: what it held may then be sent again"
    )
