"""A private PostgreSQL of the machine's own binaries: on a free port, in a temporary folder, never as root.

``BARDGE_NO_SKIP=1`` makes missing binaries a failure instead of a skip.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import psycopg
import pytest

from tests.support.net import find_refused_port

_USER: Final = "bardge"
_PATIENCE: Final = 30.0
_FAST: Final = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
_SMALL: Final = ("shared_buffers=16MB", "max_connections=60", "autovacuum=off", "listen_addresses=127.0.0.1")


def skip_or_fail(what: str) -> NoReturn:
    """Skip a test because a program is missing, or fail where skipping is not allowed."""
    reason = f"no {what} on this machine"
    if os.environ.get("BARDGE_NO_SKIP") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def find_program(name: str) -> Path | None:
    """Find a program on the path, or among the versions that Debian installs."""
    plain = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if plain is not None:
        return Path(plain)
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda it: int(it.parent.parent.name))
    return versions[-1] if versions else None


def get_unprivileged_options() -> dict[str, Any]:
    """Return the options that run a child process as another user than root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    skip_or_fail("user that PostgreSQL could run as")


@contextmanager
def make_folder() -> Generator[Path]:
    """Make a temporary folder for the unprivileged user; pytest's own folders belong to root."""
    who = get_unprivileged_options()
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - the folder in it is private
    place = next(it for it in places if not who or _is_passable(it))
    with tempfile.TemporaryDirectory(prefix="bardge-", dir=place) as name:
        if who:
            os.chown(name, who["user"], who["group"])
        yield Path(name)


def _is_passable(place: Path) -> bool:
    """Return whether every user may enter a folder."""
    return all(it.stat().st_mode & stat.S_IXOTH for it in (place, *place.parents))


@attrs.define
class Server:
    """A PostgreSQL that can be killed and started again."""

    place: Path
    port: int
    options: tuple[str, ...]
    process: subprocess.Popen[Any] | None = None

    @property
    def dsn(self) -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = [part for option in (*_SMALL, *self.options) for part in ("-c", option)]
        command = [
            str(find_program("postgres")),
            "-D",
            f"{self.place}/data",
            "-p",
            str(self.port),
            "-k",
            str(self.place),
        ]
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *settings], stdout=log, stderr=log, **get_unprivileged_options())
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.place / "log").read_text()
                assert time.monotonic() < end, (self.place / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """Kill the server with all of its children, as a crash of the machine does: no process writes any more."""
        assert self.process is not None
        pid = self.process.pid
        family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for one in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self._wait_until_ended()

    def stop(self) -> None:
        """Request an immediate shutdown."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self._wait_until_ended()

    def _wait_until_ended(self) -> None:
        if self.process is not None:
            self.process.wait(_PATIENCE)
            self.process = None

    def admin(self) -> psycopg.Connection[Any]:
        """Return a connection for the test's own use."""
        return psycopg.connect(self.dsn, autocommit=True)


@contextmanager
def run_server(*, durable: bool = False) -> Generator[Server]:
    """Run a new PostgreSQL; ``durable`` makes it wait for the disk as in production."""
    for name in ("postgres", "initdb"):
        if find_program(name) is None:
            skip_or_fail(name)
    with make_folder() as place:
        command = [
            str(find_program("initdb")),
            "-D",
            f"{place}/data",
            "-U",
            _USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        made = subprocess.run(
            [*command, "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            cwd=place,
            **get_unprivileged_options(),
        )
        assert made.returncode == 0, made.stderr
        it = Server(place, find_refused_port(), () if durable else _FAST)
        it.start()
        try:
            yield it
        finally:
            it.stop()


_CLEAR: Final = """
DELETE FROM bardge.entries; DELETE FROM bardge.facts WHERE name <> 'version';
INSERT INTO bardge.facts VALUES ('pruned', 1e10)
"""


@attrs.frozen
class Database:
    """The session's server, and the connection that clears its tables."""

    server: Server
    admin: psycopg.Connection[Any]

    @property
    def dsn(self) -> str:
        return self.server.dsn

    def clear(self) -> str:
        """Empty the journal's tables, as if they had just been pruned; return the connection string."""
        with contextlib.suppress(psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            self.admin.execute(_CLEAR)
        return self.dsn


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    """Run a PostgreSQL for all tests of this run, which does not wait for the disk."""
    with run_server() as it, it.admin() as admin:
        yield Database(it, admin)


_POOLER: Final = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {place}/users
pool_mode = transaction
default_pool_size = {size}
server_reset_query = DISCARD ALL
server_reset_query_always = {reset}
"""


@attrs.define
class Pooler:
    """A PgBouncer in transaction mode that can be killed and started again."""

    place: Path
    port: int
    dsn: str
    process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = find_program("pgbouncer")
        if program is None:
            skip_or_fail("pgbouncer")
        command = [program, self.place / "ini"]
        with (self.place / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **get_unprivileged_options())
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.dsn, connect_timeout=2):
                return
            assert self.process.poll() is None, (self.place / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(_PATIENCE)
            self.process = None


@contextmanager
def open_pooler(to: Server, *, size: int = 2, stateless: bool = True) -> Generator[Pooler]:
    """Run PgBouncer in transaction mode before a server, over few connections.

    A ``stateless`` one clears a session after each transaction. Its own default does not: what one client sets, the
    next one meets.
    """
    with make_folder() as place:
        port = find_refused_port()
        text = _POOLER.format(server=to.port, port=port, place=place, size=size, reset=int(stateless))
        (place / "ini").write_text(text)
        (place / "users").write_text(f'"{_USER}" ""\n')
        pooler = Pooler(place, port, to.dsn.replace(f":{to.port}/", f":{port}/"))
        try:
            pooler.start()
            yield pooler
        finally:
            pooler.kill()


@contextmanager
def run_pooler(to: Server) -> Generator[str]:
    """Run PgBouncer in transaction mode before a server, over two stateless connections; yield its DSN."""
    with open_pooler(to) as pooler:
        yield pooler.dsn
