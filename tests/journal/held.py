"""Which keys of a journal's file are held, as another process sees it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bardge_async import KeyIdentity
from bardge_async._journal.sqlite_keys import open_locks
from bardge_async._journal.sqlite_locks import RangeLocks
from bardge_async._journal.sqlite_portable import PortableLocks
from tests.journal.factories import KEY


def is_key_held(path: Path, identity: KeyIdentity = KEY) -> bool:
    """Return whether any journal holds a key."""
    with closing(open_locks(path)) as locks:
        if isinstance(locks, RangeLocks):
            return locks.is_key_held(identity)
        assert isinstance(locks, PortableLocks)
        with closing(sqlite3.connect(path)) as database:
            sql = "SELECT holder FROM claims WHERE base_url = ? AND account = ? AND key = ?"
            return any(locks.is_alive(holder) for (holder,) in database.execute(sql, identity).fetchall())


def is_key_freed(path: Path, identity: KeyIdentity = KEY) -> bool:
    """Return whether a released key is free within ten seconds: a row is deleted by the journal's thread."""
    deadline = time.monotonic() + 10
    while is_key_held(path, identity):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
