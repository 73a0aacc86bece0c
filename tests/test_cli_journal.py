"""``bardge journal``, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bardge_async import BardgeClient, SQLiteJournal, errors
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.journal.factories import make_done, make_identity, make_sent
from tests.support.cli import run_bardge
from tests.support.rig import PURCHASE
from tests.test_reconcile import ONCE


def run_json(*arguments: object) -> Any:
    """Run a command with ``--json``, and return what it prints."""
    result = run_bardge("journal", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a journal with one done entry and two in doubt, of two accounts."""
    path = tmp_path / "journal.db"

    async def fill() -> None:
        with SQLiteJournal(path) as journal:
            await journal.put(make_done(make_sent()))
            await journal.put(make_sent(make_identity("order-2")))
            await journal.put(make_sent(make_identity("order-2")._replace(account="b")))

    asyncio.run(fill())
    return path


@contextmanager
def leave_doubt(path: Path, monkeypatch: pytest.MonkeyPatch, *, happened: bool, ago: float = 0) -> Generator[Sandbox]:
    """Leave a purchase in doubt at a sandbox that keeps running, and set the environment."""
    loop = asyncio.new_event_loop()
    sandbox = Sandbox()
    loop.run_until_complete(sandbox.__aenter__())

    async def buy() -> None:
        (sandbox.cut_after if happened else sandbox.cut_before)("credits.purchase")
        clock = ManualClock(wall=time.time() - ago)
        with SQLiteJournal(path) as journal:
            options: dict[str, Any] = {"journal": journal, "clock": clock, "retry": ONCE}
            async with BardgeClient(sandbox.api_key, sandbox.base_url, **options) as bardge:
                with pytest.raises(errors.OutcomeUnknownError):
                    await bardge.send("credits.purchase", request=PURCHASE, key="order-1")

    loop.run_until_complete(buy())
    monkeypatch.setenv("BARDGE_API_KEY", sandbox.api_key)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield sandbox
    finally:
        asyncio.run_coroutine_threadsafe(sandbox.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_list(path: Path) -> None:
    """``list`` prints every entry of all servers and accounts, one line each."""
    result = run_bardge("journal", "list", path)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert "done" in lines[0]
    assert "passes.update_expiry  order-1  https://api.example/v3" in lines[0]
    assert lines[2].endswith("[b]")


def test_list_json(path: Path) -> None:
    """``list --json`` prints everything but the bodies."""
    first = run_json("list", path)[0]
    assert first == {
        "base_url": "https://api.example/v3",
        "account": "",
        "key": "order-1",
        "endpoint": "passes.update_expiry",
        "state": "done",
        "first_sent_at": "2026-05-28T20:26:40Z",
        "last_sent_at": "2026-05-28T20:26:40Z",
        "status": 201,
        "request_id": "req_1",
    }


def test_doubts(path: Path) -> None:
    """``doubts`` prints only what is in doubt."""
    assert {(one["key"], one["account"], one["state"]) for one in run_json("doubts", path)} == {
        ("order-2", "", "in doubt"),
        ("order-2", "b", "in doubt"),
    }


def test_one_account(path: Path) -> None:
    """``--account`` excludes other accounts."""
    assert [one["account"] for one in run_json("doubts", path, "--account", "b")] == ["b"]


def test_nothing(tmp_path: Path) -> None:
    """An empty journal says so."""
    SQLiteJournal(tmp_path / "journal.db").close()
    assert run_bardge("journal", "list", tmp_path / "journal.db").stdout == "The journal is empty.\n"
    assert run_bardge("journal", "doubts", tmp_path / "journal.db").stdout == "Nothing is in doubt.\n"
    assert run_json("doubts", tmp_path / "journal.db") == []


@pytest.mark.parametrize(("flag", "state"), [("--done", "done"), ("--never-happened", "free")])
def test_resolve(path: Path, flag: str, state: str) -> None:
    """``resolve`` settles one doubt and says how; the other one stays."""
    assert run_json("resolve", path, "order-2", "--account", "b", flag) == {"key": "order-2", "state": state}
    assert [one["account"] for one in run_json("doubts", path)] == [""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["order-2"], "exactly one of"),
        (["order-2", "--done", "--never-happened"], "exactly one of"),
        (["order-2", "--done"], "several servers or accounts"),
        (["order-1", "--done"], "not in doubt"),
        (["order-9", "--done"], "not in doubt"),
    ],
)
def test_resolve_refuses(path: Path, arguments: list[str], words: str) -> None:
    """An ambiguous command prints a message, no traceback, and changes nothing."""
    result = run_bardge("journal", "resolve", path, *arguments)
    assert (result.exit_code != 0, words in result.output, "Traceback" in result.output) == (True, True, False)
    assert len(run_json("doubts", path)) == 2


@pytest.mark.parametrize("command", ["list", "doubts"])
def test_missing_file(tmp_path: Path, command: str) -> None:
    """A missing file is a message, and is not created."""
    result = run_bardge("journal", command, tmp_path / "none.db")
    assert result.exit_code == 2
    assert "does not exist" in result.output
    assert list(tmp_path.iterdir()) == []


def test_foreign_file(tmp_path: Path) -> None:
    """A file of another type is a message, not a traceback."""
    (tmp_path / "notes").write_text("hello " * 100)
    result = run_bardge("journal", "list", tmp_path / "notes")
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_prune(path: Path) -> None:
    """``prune`` removes what is old, and keeps doubts."""
    assert run_json("prune", path, "--keep-entries", "0.001") == {"forgotten": 1}
    assert len(run_json("list", path)) == 2


def test_reconcile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``reconcile`` prints the evidence and changes nothing."""
    path = tmp_path / "journal.db"
    with leave_doubt(path, monkeypatch, happened=True):
        [verdict] = run_json("reconcile", path)
        words = run_bardge("journal", "reconcile", path, "order-1")
    assert (verdict["key"], verdict["finding"], verdict["inferred"]) == ("order-1", "happened", True)
    assert "order-1: happened (by inferred fields)" in words.stdout
    assert len(run_json("doubts", path)) == 1


def test_resolve_by_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``resolve --by-evidence`` acts on what the server's lists show."""
    path = tmp_path / "journal.db"
    with leave_doubt(path, monkeypatch, happened=False, ago=400):
        result = run_bardge("journal", "resolve", path, "order-1", "--by-evidence")
    assert result.exit_code == 0, result.output
    assert "order-1 is free to be sent again." in result.stdout
    assert run_json("doubts", path) == []


def test_resolve_by_evidence_that_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the evidence is inconclusive, nothing is changed and the message says so."""
    path = tmp_path / "journal.db"
    with leave_doubt(path, monkeypatch, happened=False):
        result = run_bardge("journal", "resolve", path, "order-1", "--by-evidence")
    assert (result.exit_code, "cannot tell" in result.output) == (1, True)
    assert len(run_json("doubts", path)) == 1


def test_reconcile_needs_a_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without BARDGE_API_KEY the message names it."""
    monkeypatch.delenv("BARDGE_API_KEY", raising=False)
    result = run_bardge("journal", "reconcile", path)
    assert (result.exit_code, "BARDGE_API_KEY" in result.output) == (1, True)


def test_reconcile_at_another_server(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base URL in the environment that is not the doubt's is a message: the key would be sent to the wrong server."""
    monkeypatch.setenv("BARDGE_API_KEY", "k")
    monkeypatch.setenv("BARDGE_BASE_URL", "https://other.example/v3")
    result = run_bardge("journal", "reconcile", path)
    assert (result.exit_code, "was sent to https://api.example/v3" in result.output) == (1, True)


@pytest.mark.parametrize("shared", [False, True])
def test_a_shared_journal_needs_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shared: bool) -> None:
    """A journal that a group can write to is refused, unless BARDGE_JOURNAL_SHARED=1 says that it is meant to be."""
    with SQLiteJournal(tmp_path / "journal.db", shared=True):
        pass
    monkeypatch.setenv("BARDGE_JOURNAL_SHARED", "1" if shared else "")
    result = run_bardge("journal", "list", tmp_path / "journal.db")
    assert (result.exit_code, "others can write to it" in result.output) == ((0, False) if shared else (1, True))


def test_long_lists(tmp_path: Path) -> None:
    """A list that is printed in parts is one JSON array, and as many lines."""

    async def fill() -> None:
        with SQLiteJournal(tmp_path / "journal.db") as journal:
            await asyncio.gather(*(journal.put(make_sent(make_identity(f"order-{n}"))) for n in range(250)))

    asyncio.run(fill())
    keys = [f"order-{n}" for n in range(250)]
    assert [one["key"] for one in run_json("list", tmp_path / "journal.db")] == keys
    lines = run_bardge("journal", "doubts", tmp_path / "journal.db").stdout.splitlines()
    assert [line.split()[-2] for line in lines] == keys


def test_empty_list(tmp_path: Path) -> None:
    """A list of nothing says so, or is an empty array."""
    SQLiteJournal(tmp_path / "journal.db").close()
    assert run_json("list", tmp_path / "journal.db") == []
    assert run_bardge("journal", "list", tmp_path / "journal.db").stdout == "The journal is empty.\n"
    assert run_bardge("journal", "doubts", tmp_path / "journal.db").stdout == "Nothing is in doubt.\n"


def test_erase(path: Path) -> None:
    """``erase`` removes the bodies of finished entries that name the client, and says how many."""
    assert run_json("erase", path, "b") == {"erased": 0}
    assert run_bardge("journal", "erase", path, "p").stdout == "The bodies of 1 entries removed.\n"
    assert run_json("erase", path, "p") == {"erased": 0}


def test_erase_nobody(path: Path) -> None:
    """An empty id is refused, with a message that names it."""
    result = run_bardge("journal", "erase", path, "")
    assert result.exit_code == 1
    assert "client_id" in result.output
