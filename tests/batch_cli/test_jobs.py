"""Recorded jobs: where they are stored, who runs them, and the commands about them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bardge_async import operation_key
from bardge_async.cli.batch._errors import CommandError
from bardge_async.cli.batch._jobs.files import JobFacts, JobFiles, jobs_folder, make_slug
from bardge_async.cli.batch._jobs.job_lock import JobLock, find_running_pid
from bardge_async.sandbox import Fault, Sandbox
from tests.batch_cli.conftest import BUY, Operator, Threaded, make_purchase_csv


def leave_doubt(operator: Operator) -> None:
    """Leave the second of three rows in doubt."""
    operator.sandbox.faults.script([Fault(kind="status", endpoint="credits.purchase", status=500, after=True)])
    operator.run_file("id,client_id,package_id\n" + "o2,client_abc123,cpkg_50\n")
    operator.sandbox.faults.clear()
    operator.write_file(make_purchase_csv(3))


def get_job_files(operator: Operator, account: str = "") -> JobFiles:
    return JobFiles.for_job("j", operator.sandbox.base_url, account, None)


def test_place(operator: Operator) -> None:
    """The journal of a job is in a folder of its own that only the owner can open."""
    operator.run_file(make_purchase_csv(1))
    place = get_job_files(operator)
    assert {path.name for path in place.folder.iterdir()} >= {"journal.db", "job.json", "job.lock"}
    assert place.folder.parent == operator.folder / "state" / "bardge" / "batch"
    modes = [path.stat().st_mode & 0o777 for path in (place.folder, place.journal, place.facts_path, place.lock_path)]
    assert modes == [0o700, 0o600, 0o600, 0o600]


def test_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an absolute XDG_STATE_HOME, jobs are stored below ~/.local/state."""
    monkeypatch.setenv("HOME", "/home/ada")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert jobs_folder() == Path("/home/ada/.local/state/bardge/batch")


@pytest.mark.parametrize("other", [("j", "https://b/v3", ""), ("j", "https://a/v3", "x"), ("J", "https://a/v3", "")])
def test_one_place_for_each(operator: Operator, other: tuple[str, str, str]) -> None:
    """Each combination of job, server and account has a folder of its own, even if the names look alike in files."""
    assert JobFiles.for_job(*other, None).folder != JobFiles.for_job("j", "https://a/v3", "", None).folder


@pytest.mark.parametrize(
    ("job", "part"), [("renewals-2026-11", "renewals-2026-11"), ("../../etc", "etc"), ("a b/ü", "a-b"), ("..", "job")]
)
def test_slug(job: str, part: str) -> None:
    """Any job name is turned into a safe part of a file name."""
    assert make_slug(job) == part


@pytest.mark.parametrize("job", ["", "  ", "a\nb", "x" * 101])
def test_bad_name(operator: Operator, job: str) -> None:
    """A job's name is validated."""
    result = operator.run_file(make_purchase_csv(1), job=job)
    assert (result.exit_code, "--job: expected 1 to 100 printable characters" in result.stderr) == (2, True)


def test_live_job_is_refused(operator: Operator) -> None:
    """A second concurrent run of a job is rejected, and the message names the process."""
    place = get_job_files(operator)
    place.create_folders()
    with JobLock(place.lock_path, "j"):
        result = operator.run_file(make_purchase_csv(1))
    assert (result.exit_code, operator.purchase_count) == (1, 0)
    assert f"The job 'j' is being run by process {os.getpid()}." in result.stderr


def test_lock_outlives_no_process(operator: Operator) -> None:
    """The lock file of a run that ended locks no one out."""
    place = get_job_files(operator)
    place.create_folders()
    with JobLock(place.lock_path, "j"):
        assert find_running_pid(place.lock_path) == os.getpid()
    assert find_running_pid(place.lock_path) is None
    assert operator.run_file(make_purchase_csv(1)).exit_code == 0


def test_other_operation_is_refused(operator: Operator) -> None:
    """A job continues with the operation that it was started with."""
    operator.run_file(make_purchase_csv(1))
    result = operator.run_batch_command("run", "clients.csv", "--op", "passes.issue", "--job", "j", "--yes")
    assert (result.exit_code, "was started with --op credits.purchase" in result.stderr) == (2, True)


def test_other_journal_is_refused(operator: Operator) -> None:
    """A job with a different journal is rejected: everything would be sent again."""
    operator.run_file(make_purchase_csv(1))
    result = operator.run_file(make_purchase_csv(1), "--journal", "own.db")
    assert (result.exit_code, "uses the journal" in result.stderr, operator.purchase_count) == (2, True, 1)


def test_own_journal(operator: Operator) -> None:
    """A journal that the operator chose serves the job in every command."""
    operator.run_file(make_purchase_csv(2) + "x,client_abc123,none\n", "--journal", "own.db")
    assert operator.run_json("status", "j")["counts"] == {
        "rows": 3,
        "done": 2,
        "refused": 1,
        "in_doubt": 0,
        "not_run": 0,
    }
    assert operator.run_batch_command("resume", "j").exit_code == 3
    assert operator.purchase_count == 3


def test_own_journal_is_one_jobs(operator: Operator) -> None:
    """Another job in the same journal is rejected."""
    operator.run_file(make_purchase_csv(1), "--journal", "own.db")
    result = operator.run_file(make_purchase_csv(1), "--journal", "own.db", job="k")
    assert (result.exit_code, "belongs to the job 'j'" in result.stderr, operator.purchase_count) == (2, True, 1)


def test_journal_in_no_folder(operator: Operator) -> None:
    """A journal in a missing folder is reported before anything is sent."""
    result = operator.run_file(make_purchase_csv(1), "--journal", "none/own.db")
    assert (result.exit_code, "--journal: the folder" in result.stderr, operator.purchase_count) == (2, True, 0)


def test_journal_that_could_not_be_begun_binds_nothing(operator: Operator) -> None:
    """A job that could not be recorded beside its journal may use another journal."""
    result = operator.run_file(make_purchase_csv(1), "--journal", "x" * 246)
    assert (result.exit_code, ".job.json cannot be written: File name too long." in result.stderr) == (1, True)
    assert operator.run_file(make_purchase_csv(1), "--journal", "other.db").exit_code == 0


def test_file_that_is_no_journal(operator: Operator) -> None:
    """A journal of another file type is reported, and the file is left unchanged."""
    operator.write_file("hello " * 100, "own.db")
    result = operator.run_file(make_purchase_csv(1), "--journal", "own.db")
    assert (result.exit_code, "own.db" in result.stderr, operator.purchase_count) == (1, True, 0), result.stderr
    assert (operator.folder / "own.db").read_text() == "hello " * 100


def test_status(operator: Operator) -> None:
    """``status`` prints the recorded state, for people and for programs."""
    operator.run_file(make_purchase_csv(3) + "x,client_abc123,none\n")
    said = operator.run_json("status", "j")
    assert said["counts"] == {"rows": 4, "done": 3, "refused": 1, "in_doubt": 0, "not_run": 0}
    assert (said["operation"], said["file"], said["running"]) == (
        "credits.purchase",
        str(operator.folder / "clients.csv"),
        None,
    )
    assert "done 3, refused 1, in doubt 0, not run 0" in operator.run_batch_command("status", "j").stdout


def test_status_of_a_live_job(operator: Operator) -> None:
    """``status`` names the process that runs a job."""
    operator.run_file(make_purchase_csv(1))
    with JobLock(get_job_files(operator).lock_path, "j"):
        assert f"running in process {os.getpid()}" in operator.run_batch_command("status", "j").stdout


@pytest.mark.parametrize("command", ["status", "resume", "doubts"])
def test_unknown_job(operator: Operator, command: str) -> None:
    """For an unknown job the message lists the known ones."""
    operator.run_file(make_purchase_csv(1))
    result = operator.run_batch_command(command, "k")
    assert (result.exit_code, "No job is named 'k'.\nRecorded jobs: j." in result.stderr) == (2, True)


def test_resume(operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``resume`` needs only the name, from any folder, and does not repeat a confirmation."""
    operator.write_file("k,client_id,pack\n1,client_abc123,cpkg_50\n2,client_abc123,none\n")
    operator.run_batch_command(
        "run", "clients.csv", *BUY, "--job", "j", "--yes", "--id", "k", "--map", "package_id=pack"
    )
    monkeypatch.delenv("BARDGE_BASE_URL")
    monkeypatch.chdir(tmp_path.parent)
    (operator.folder / "clients.j.results.csv").unlink()
    assert operator.run_batch_command("resume", "j").exit_code == 3
    assert operator.read_statuses() == ["skipped", "refused"]


def test_resume_of_a_changed_file_asks(operator: Operator) -> None:
    """``resume`` asks for confirmation if the file has changed."""
    operator.run_file(make_purchase_csv(1))
    operator.write_file(make_purchase_csv(2))
    refused = operator.run_batch_command("resume", "j")
    assert (refused.exit_code, "Pass --yes" in refused.stderr, operator.purchase_count) == (2, True, 1)
    assert (operator.run_batch_command("resume", "j", "--yes").exit_code, operator.purchase_count) == (0, 2)


def test_resume_retries_refused(operator: Operator) -> None:
    """``resume --retry-refused`` sends refused rows again."""
    operator.run_file(make_purchase_csv(1, "none"))
    operator.run_batch_command("resume", "j")
    assert operator.purchase_count == 1
    operator.run_batch_command("resume", "j", "--retry-refused")
    assert operator.purchase_count == 2


def test_retrying_refused_is_for_one_run(operator: Operator) -> None:
    """A row refused twice is not sent by the next ``resume``: --retry-refused is not remembered."""
    operator.run_file(make_purchase_csv(1, "none"), "--retry-refused")
    operator.run_batch_command("resume", "j", "--retry-refused")
    operator.sandbox.forget_requests()
    operator.run_batch_command("resume", "j")
    assert operator.purchase_count == 0


def test_job_at_two_servers(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """If several servers have a job of one name, the environment or --base-url selects it."""
    operator.run_file(make_purchase_csv(1))
    other = Sandbox()
    thread = Threaded(other)
    try:
        monkeypatch.setenv("BARDGE_API_KEY", other.api_key)
        operator.run_file(make_purchase_csv(2), "--base-url", other.base_url)
        assert operator.run_json("status", "j")["counts"]["done"] == 1
        assert operator.run_json("status", "j", "--base-url", other.base_url)["counts"]["done"] == 2
        monkeypatch.delenv("BARDGE_BASE_URL")
        result = operator.run_batch_command("status", "j")
        assert (result.exit_code, f"--base-url {other.base_url}" in result.stderr) == (2, True)
    finally:
        thread.stop()


def test_namesake(operator: Operator) -> None:
    """A job of the same name for another account is mentioned: it knows nothing of this one."""
    operator.run_file(make_purchase_csv(1))
    result = operator.run_file(make_purchase_csv(1), "--account", "acme")
    assert f"Note: another job of this name exists for {operator.sandbox.base_url}.\n" in result.stderr


def test_job_elsewhere(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is never resumed at a server other than the environment's: the key would be sent there."""
    operator.run_file(make_purchase_csv(1))
    monkeypatch.setenv("BARDGE_BASE_URL", "https://other.example/v3")
    result = operator.run_batch_command("resume", "j")
    assert (result.exit_code, "does not exist for that server" in result.stderr) == (2, True)


def test_doubts(operator: Operator) -> None:
    """``doubts`` lists rows without an outcome, with line, id and key."""
    leave_doubt(operator)
    [doubt] = operator.run_json("doubts", "j")
    key = operation_key("j", "credits.purchase", "o2")
    assert (doubt["line"], doubt["id"], doubt["key"], doubt["state"]) == (3, "o2", key, "in doubt")
    words = operator.run_batch_command("doubts", "j").stdout
    assert "line 3  id o2  sent " in words
    assert "Resolve each with: bardge batch resolve j --base-url" in words


def test_doubts_without_the_file(operator: Operator) -> None:
    """``doubts`` lists keys if the file is gone."""
    leave_doubt(operator)
    (operator.folder / "clients.csv").unlink()
    [doubt] = operator.run_json("doubts", "j")
    assert (doubt["key"], "line" in doubt) == (operation_key("j", "credits.purchase", "o2"), False)


def test_no_doubts(operator: Operator) -> None:
    """Without doubts, ``doubts`` says so."""
    operator.run_file(make_purchase_csv(1))
    assert operator.run_batch_command("doubts", "j").stdout == "Nothing is in doubt.\n"
    assert operator.run_json("doubts", "j") == []


@pytest.mark.parametrize(("flag", "status"), [("--done", "skipped"), ("--never-happened", "replayed")])
@pytest.mark.parametrize("by_key", [False, True])
def test_resolve(operator: Operator, flag: str, status: str, by_key: bool) -> None:
    """``resolve`` settles the doubt of an id or key, and the next run respects it."""
    leave_doubt(operator)
    wanted = operation_key("j", "credits.purchase", "o2") if by_key else "o2"
    assert operator.run_batch_command("resolve", "j", wanted, flag).exit_code == 0
    assert operator.run_batch_command("resume", "j", "--yes").exit_code == 0
    assert operator.read_statuses() == ["done", status, "done"]


def test_resolve_by_evidence_that_cannot_tell(operator: Operator) -> None:
    """``resolve --by-evidence`` changes nothing if the server's lists are inconclusive."""
    leave_doubt(operator)
    result = operator.run_batch_command("resolve", "j", "o2", "--by-evidence")
    assert (result.exit_code, len(operator.run_json("doubts", "j"))) == (1, 1), result.stderr
    assert "cannot tell" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["o1", "--done"], "'o1' is not in doubt."),
        (["o2"], "exactly one of"),
        (["o2", "--done", "--never-happened"], "one of"),
    ],
)
def test_resolve_refuses(operator: Operator, arguments: list[str], words: str) -> None:
    """An ambiguous ``resolve`` changes nothing."""
    leave_doubt(operator)
    result = operator.run_batch_command("resolve", "j", *arguments)
    assert (result.exit_code > 0, words in result.stderr, len(operator.run_json("doubts", "j"))) == (True, True, 1)


@pytest.mark.parametrize("content", ["", "{}", '{"form": 9}', '{"form": 1, "job": "j"}', "[]"])
def test_damaged_record(operator: Operator, content: str) -> None:
    """A damaged job description is reported with the file's name."""
    path = operator.write_file(content, "job.json")
    with pytest.raises(CommandError, match=r"job\.json"):
        JobFacts.read_from(path)


def test_record_holds_no_key(operator: Operator) -> None:
    """The stored job holds no API key."""
    operator.run_file(make_purchase_csv(1))
    place = get_job_files(operator)
    assert json.loads(place.facts_path.read_text())["job"] == "j"
    secret = operator.sandbox.api_key.encode()
    assert not [path for path in place.folder.iterdir() if secret in path.read_bytes()]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_journal_that_is_no_file(operator: Operator, kind: str) -> None:
    """``--journal`` of a pipe, a device or a folder is refused immediately: opening a pipe would wait for its other end."""
    path = {"device": Path("/dev/null")}.get(kind, operator.folder / kind)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    result = operator.run_file(make_purchase_csv(1), "--journal", path)
    assert (result.exit_code, "not a regular file" in result.stderr or "is a directory" in result.stderr) == (2, True)
    assert operator.sandbox.requests == ()


def test_recorded_journal_that_became_a_pipe(operator: Operator) -> None:
    """``status`` of a job does not wait for a pipe in its journal's place either."""
    operator.run_file(make_purchase_csv(1))
    journal = get_job_files(operator).journal
    journal.unlink()
    os.mkfifo(journal)
    result = operator.run_batch_command("status", "j")
    assert (result.exit_code, "not a regular file" in result.stderr) == (1, True)


def test_empty_journal_is_taken(operator: Operator) -> None:
    """``--journal`` of a file that ``mktemp`` made is a new journal."""
    path = operator.folder / "new.db"
    path.touch()
    assert operator.run_file(make_purchase_csv(2), "--journal", path).exit_code == 0
    assert operator.run_file(make_purchase_csv(2), "--journal", path).exit_code == 0
    assert operator.read_statuses() == ["skipped", "skipped"]


def test_missing_state_folder_is_the_owners_only(operator: Operator) -> None:
    """A missing ``XDG_STATE_HOME`` is made with mode 0700, whatever the umask."""
    before = os.umask(0)
    try:
        operator.run_file(make_purchase_csv(1))
    finally:
        os.umask(before)
    folder = get_job_files(operator).folder
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.parents[:3])} == {0o700}
