"""Who else can write to a journal's files, and so decide what is charged again and what never is.

Only where the system has owners and modes. The folder counts, too, since who can write to it can replace the file; in a
sticky one, such as ``/tmp``, only its owner can.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bardge_async._journal.sqlite_files import holder_path, list_holders
from bardge_async.errors import JournalError

_COMPANIONS: Final = ("-wal", "-shm", "-journal", "-lock")
_HAS_OWNERS: Final = hasattr(os, "geteuid")
_HAS_IDS: Final = os.access in os.supports_effective_ids
_ROOT: Final = 0
_SHARED_FILE: Final = 0o660


def check_trust(path: Path, *, shared: bool = False) -> None:
    """Check that only this user, and with ``shared`` the members of one group, can write to a journal.

    Raises:
        JournalError: Others can write to the file, a companion or the folder, or one of them belongs to another user.
    """
    if not _HAS_OWNERS:
        return
    path = path.resolve()
    try:
        _check_folder(path.parent, shared=shared)
        if path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=_HAS_IDS):
            # Opening it says which right is missing.
            return
        for file in _list_files(path):
            # Another process may have closed the journal meanwhile, and removed its companion.
            with contextlib.suppress(FileNotFoundError):
                _check_file(file, shared=shared)
    except OSError as error:
        raise JournalError(f"{path}: the journal cannot be opened: {error.strerror}") from None


def share_files(path: Path) -> None:
    """Let the group read and write a journal's files, those that belong to this user."""
    if not _HAS_OWNERS:
        return
    for file in _list_files(path.resolve()):
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_uid == _ask_system("geteuid") and stat.S_IMODE(file.stat().st_mode) != _SHARED_FILE:
                file.chmod(_SHARED_FILE)


def check_schema_objects(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file holds tables and indexes only: a trigger or a view changes what is read and written.

    Raises:
        JournalError: It holds anything else.
    """
    sql = "SELECT type, name FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1"
    found = connection.execute(sql).fetchone()
    if found is not None:
        kind, name = found
        raise JournalError(
            f"{path}: the journal holds a {kind} named {name!r:.80}, which this library did not create; "
            "find out who can write to the file, and restore it from a backup"
        )


def _list_files(path: Path) -> Iterator[Path]:
    for suffix in ("", *_COMPANIONS):
        file = path.with_name(path.name + suffix)
        if os.path.lexists(file):
            yield file
    for holder in list_holders(path):
        yield holder_path(path, holder)


def _check_folder(folder: Path, *, shared: bool) -> None:
    status = folder.stat()
    mode = status.st_mode
    _check_owner(folder, status.st_uid, shared=shared, may_be_root=True)
    if mode & stat.S_ISVTX:
        return
    group_may_write = (shared and _is_member(status.st_gid)) or _is_private_group(status.st_gid)
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not group_may_write):
        raise _mode_error(folder, mode, wanted="2770" if shared else "go-w", shared=shared)


def _check_file(file: Path, *, shared: bool) -> None:
    status = file.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise JournalError(f"{file}: a journal's files must not be links; find out who made it, and remove it")
    _check_owner(file, status.st_uid, shared=shared, may_be_root=False)
    group_may_write = shared and _is_member(status.st_gid)
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not group_may_write):
        raise _mode_error(file, status.st_mode, wanted="660" if shared else "600", shared=shared)


def _check_owner(path: Path, owner: int, *, shared: bool, may_be_root: bool) -> None:
    user = _ask_system("geteuid")
    if shared or user in {owner, _ROOT} or (may_be_root and owner == _ROOT):
        return
    raise JournalError(
        f"{path}: belongs to another user (uid {owner}, and this process is uid {user}), who could change what the "
        "journal says; use a journal of your own, or shared=True for one of a common group"
    )


def _is_member(group: int) -> bool:
    return _ask_system("geteuid") == _ROOT or group in {_ask_system("getegid"), *_ask_system("getgroups")}


def _is_private_group(group: int) -> bool:
    """Return whether only this user is in a group: where users have groups of their own, folders are made 0775."""
    user = _ask_system("geteuid")
    if user == _ROOT:
        # Root's group is no private one: services are often put into it.
        return False
    try:
        entry, name = import_module("grp").getgrgid(group), import_module("pwd").getpwuid(user).pw_name
    except (ImportError, KeyError):
        return False
    return entry.gr_name == name and set(entry.gr_mem) <= {name}


def _ask_system(name: str) -> Any:  # noqa: ANN401 - type checkers know these functions only on systems that have them
    return getattr(os, name)()


def _mode_error(path: Path, mode: int, *, wanted: str, shared: bool) -> JournalError:
    hint = "" if shared else "; if a group uses the journal, pass shared=True"
    return JournalError(
        f"{path}: others can write to it (mode {stat.S_IMODE(mode):04o}), and so decide what is charged again; find out "
        f"whether anyone did, then run: chmod {wanted} {path}{hint}"
    )
