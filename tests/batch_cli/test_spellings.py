"""A job belongs to its server, however the server's base URL was spelled when the job was run."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import attrs
import pytest

from bardge_async import JournalEntry, SQLiteJournal
from bardge_async.cli.batch._jobs.files import JobFiles
from bardge_async.cli.batch._jobs.job_lock import JobLock
from tests.batch_cli.conftest import BUY, Operator, make_purchase_csv


def _respell(operator: Operator) -> str:
    """Return the sandbox's base URL as an earlier version could have recorded it."""
    return operator.sandbox.base_url.replace("http://", "HTTP://").replace("/v3", "/%763")


def _make_old_entry(entry: JournalEntry, base: str) -> JournalEntry:
    url = base + entry.url.removeprefix(entry.identity.base_url)
    digest = hashlib.blake2b(b"\x00".join((b"v1", b"POST", url.encode(), entry.body or b"")), digest_size=16)
    identity = entry.identity._replace(base_url=base)
    return attrs.evolve(entry, identity=identity, url=url, fingerprint=f"v1:{digest.hexdigest()}")


def _make_old_job(operator: Operator, journal: Path | None = None) -> Path:
    """Turn a job that was run into what an earlier version left under another spelling; return its folder."""
    base = _respell(operator)
    files = JobFiles.for_job("j", operator.sandbox.base_url, "", journal)
    with SQLiteJournal(files.journal) as recorded:
        entries = asyncio.run(recorded.listed())
    for path in files.journal.parent.glob(files.journal.name + "*"):
        if path.suffix != ".json":
            path.unlink()
    old = files.folder.with_name("j-" + hashlib.sha256(f"{base}\x00\x00j".encode()).hexdigest()[:12])
    files.folder.rename(old)
    place = old / "journal.db" if journal is None else journal
    for description in [old / "job.json", *place.parent.glob(place.name + ".job.json")]:
        facts = json.loads(description.read_bytes())
        description.write_text(json.dumps({**facts, "base_url": base, "journal": str(place)}))

    async def put_entries(target: SQLiteJournal) -> None:
        for entry in entries:
            await target.put(_make_old_entry(entry, base))

    with SQLiteJournal(place) as target:
        asyncio.run(put_entries(target))
    return old


@pytest.mark.parametrize("command", ["run", "resume"])
@pytest.mark.parametrize("own", [False, True])
def test_job_under_another_spelling(operator: Operator, command: str, own: bool) -> None:
    """A job that was run under another spelling of its server is continued: no row is sent again."""
    journal = operator.folder / "own.db" if own else None
    arguments = () if journal is None else ("--journal", journal)
    operator.run_file(make_purchase_csv(2), *arguments)
    old = _make_old_job(operator, journal)
    operator.write_file(make_purchase_csv(3))
    if command == "run":
        result = operator.run_batch_command("run", "clients.csv", *BUY, "--job", "j", "--yes", *arguments)
    else:
        result = operator.run_batch_command("resume", "j", "--yes")
    assert (result.exit_code, operator.purchase_count) == (0, 3), result.output
    files = JobFiles.for_job("j", operator.sandbox.base_url, "", journal)
    facts = files.load_facts()
    assert facts is not None
    assert (facts.base_url, facts.journal) == (operator.sandbox.base_url, str(files.journal))
    assert not old.exists()


def test_status_of_a_job_under_another_spelling(operator: Operator) -> None:
    """The status of a job that was run under another spelling counts what is done."""
    operator.run_file(make_purchase_csv(2))
    _make_old_job(operator)
    found = operator.run_json("status", "j")
    assert (found["counts"]["done"], found["base_url"]) == (2, operator.sandbox.base_url)


def test_job_under_two_spellings(operator: Operator) -> None:
    """A job that was run under two spellings is one job: what is done under either is not sent again."""
    operator.run_file(make_purchase_csv(2))
    old = _make_old_job(operator)
    hidden = old.rename(operator.folder / "hidden")
    operator.run_file("id,client_id,package_id\no3,client_abc123,cpkg_50\n")
    hidden.rename(old)
    assert operator.purchase_count == 3
    assert operator.run_file(make_purchase_csv(4)).exit_code == 0
    assert operator.purchase_count == 4
    assert not old.exists()


def test_running_under_another_spelling(operator: Operator) -> None:
    """A job that is running under another spelling is not run a second time."""
    operator.run_file(make_purchase_csv(1))
    old = _make_old_job(operator)
    with JobLock(old / "job.lock", "j"):
        result = operator.run_file(make_purchase_csv(2))
    assert "is being run by process" in result.output
    assert operator.purchase_count == 1


def test_move_that_was_interrupted(operator: Operator) -> None:
    """A folder that was moved but not yet described anew is found by its description."""
    operator.run_file(make_purchase_csv(2))
    old = _make_old_job(operator)
    files_folder = old.with_name(
        "j-" + hashlib.sha256(f"{operator.sandbox.base_url}\x00\x00j".encode()).hexdigest()[:12]
    )
    old.rename(files_folder)
    assert operator.run_file(make_purchase_csv(3)).exit_code == 0
    assert operator.purchase_count == 3


def test_missing_journal_of_another_spelling(operator: Operator) -> None:
    """A job whose journal under the other spelling is missing is not merged as if nothing had been done."""
    own = operator.folder / "own.db"
    operator.run_file(make_purchase_csv(2), "--journal", own)
    old = _make_old_job(operator, own)
    hidden = old.rename(operator.folder / "hidden")
    operator.run_file(make_purchase_csv(1), name="other.csv")
    hidden.rename(old)
    own.unlink()
    result = operator.run_file(make_purchase_csv(2))
    assert "is missing" in result.output
    assert old.exists()
