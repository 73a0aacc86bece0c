"""The tests' own PostgreSQL: on a free port, in a temporary folder, never as root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest


def _find_program(name: str) -> str:
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found


def _choose_user() -> dict[str, Any]:
    """Return arguments to run as a user other than root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Run PostgreSQL; yield the address of its default database."""
    postgres, initdb, who = _find_program("postgres"), _find_program("initdb"), _choose_user()
    # The other user needs access to the parent folders, which root's may not allow.
    place = "/tmp" if who else None
    with tempfile.TemporaryDirectory(dir=place) as folder, socket.socket() as probe:
        os.chown(folder, who.get("user", -1), who.get("group", -1))
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        made = [initdb, "-D", f"{folder}/data", "-U", "me", "-A", "trust", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **who)
        command = [postgres, "-D", f"{folder}/data", "-k", folder, "-p", str(port), "-c", "fsync=off"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=folder, **who) as process:
            dsn = f"postgresql://me@127.0.0.1:{port}/postgres"
            _wait_for_server(dsn)
            yield dsn
            process.terminate()


def _wait_for_server(dsn: str) -> None:
    for _ in range(600):
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("PostgreSQL did not start")


@pytest.fixture
def dsn(server: str, request: pytest.FixtureRequest) -> str:
    """Create a database for one test."""
    name = f"orders_{abs(hash(request.node.name))}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return server.removesuffix("postgres") + name
