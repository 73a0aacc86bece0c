"""Files through a queue: submitted, worked, inspected."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bardge_async.sandbox import Fault
from tests.batch_cli.conftest import BUY, Operator, make_purchase_csv
from tests.support.postgres import Database


@pytest.fixture
def queue(postgres: Database) -> str:
    """The URL of an emptied queue."""
    tables = "procrastinate_jobs, procrastinate_workers, procrastinate_events"
    if postgres.admin.execute("SELECT to_regclass('procrastinate_jobs') IS NOT NULL").fetchone() == (True,):
        postgres.admin.execute(f"TRUNCATE {tables} CASCADE".encode())
    return postgres.clear()


def submit_file(operator: Operator, queue: str, content: str, *more: str) -> int:
    """Submit a file, and return the exit code."""
    path = operator.write_file(content)
    return operator.run_batch_command(
        "submit", path.name, *BUY, "--job", "j", "--queue", queue, "--yes", *more
    ).exit_code


def run_worker(operator: Operator, queue: str) -> int:
    """Run a worker until no job is due, and return the exit code."""
    return operator.run_batch_command("worker", "--queue", queue, "--until-done").exit_code


def read_counts(operator: Operator, queue: str) -> dict[str, int]:
    found: dict[str, int] = operator.run_json("status", "j", "--queue", queue)["counts"]
    return found


def test_a_submitted_file_is_worked_off(operator: Operator, queue: str) -> None:
    """Each row is executed once, and the status reports it."""
    assert (
        submit_file(operator, queue, make_purchase_csv(30)),
        run_worker(operator, queue),
        operator.purchase_count,
    ) == (0, 0, 30)
    assert read_counts(operator, queue) == {
        "waiting": 0,
        "running": 0,
        "done": 30,
        "failed": 0,
        "cancelled": 0,
        "in_doubt": 0,
    }


def test_a_file_that_is_submitted_twice_is_sent_once(operator: Operator, queue: str) -> None:
    """The same rows under the same job are the same operations."""
    for _ in range(2):
        submit_file(operator, queue, make_purchase_csv(5))
        run_worker(operator, queue)
    assert (operator.purchase_count, read_counts(operator, queue)["done"]) == (5, 10)


def test_a_wrong_row_puts_nothing_in(operator: Operator, queue: str) -> None:
    """Every row is validated first, as in a run."""
    result = operator.write_file(make_purchase_csv(2) + "o3,,cpkg_50\n")
    found = operator.run_batch_command("submit", result.name, *BUY, "--job", "j", "--queue", queue, "--yes")
    assert (found.exit_code, "line 4" in found.stderr) == (2, True)
    assert operator.run_batch_command("status", "j", "--queue", queue).exit_code == 2


def test_a_dry_run_puts_nothing_in(operator: Operator, queue: str) -> None:
    """``--dry-run`` only validates."""
    assert submit_file(operator, queue, make_purchase_csv(2), "--dry-run") == 0
    assert operator.run_batch_command("status", "j", "--queue", queue).exit_code == 2


def test_a_job_of_this_machine_is_not_submitted(operator: Operator, queue: str) -> None:
    """A job that ran without a queue is recorded in a file, which no worker reads: its rows would be sent again."""
    operator.run_file(make_purchase_csv(2))
    assert submit_file(operator, queue, make_purchase_csv(2)) == 2


def test_what_is_in_doubt_is_listed_settled_and_goes_on(operator: Operator, queue: str) -> None:
    """Doubts are listed with the rows' ids; once they are settled, resume ends the job successfully."""
    operator.sandbox.faults.script([Fault(kind="status", endpoint="credits.purchase", status=500, times=1)])
    submit_file(operator, queue, make_purchase_csv(1))
    run_worker(operator, queue)
    [doubt] = operator.run_json("doubts", "j", "--queue", queue)
    assert (doubt["id"], read_counts(operator, queue)["in_doubt"]) == ("o1", 1)
    assert operator.run_batch_command("resolve", "j", "o1", "--queue", queue, "--never-happened").exit_code == 0
    assert operator.run_json("resume", "j", "--queue", queue)["put_back"] == 1
    run_worker(operator, queue)
    assert read_counts(operator, queue) == {
        "waiting": 0,
        "running": 0,
        "done": 1,
        "failed": 0,
        "cancelled": 0,
        "in_doubt": 0,
    }


def test_a_wrong_key_ends_the_worker_and_leaves_the_rows(
    operator: Operator, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an API key no job fails."""
    submit_file(operator, queue, make_purchase_csv(3))
    monkeypatch.setenv("BARDGE_API_KEY", "wrong")
    assert (run_worker(operator, queue), read_counts(operator, queue)["waiting"]) == (1, 3)


def test_a_worker_prints_its_events_as_json(operator: Operator, queue: str) -> None:
    """One object a line on standard output: what happened, when, and what it waits for."""
    submit_file(operator, queue, make_purchase_csv(1))
    result = operator.run_batch_command("worker", "--queue", queue, "--until-done", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(one) for one in events] == [{"event", "at", "cause"}] * 2
    assert [(one["event"], one["cause"]) for one in events] == [("started", None), ("stopped", None)]


def test_a_worker_without_rights_ends_with_the_cause(operator: Operator, queue: str, postgres: Database) -> None:
    """A missing right cannot pass by itself: it is named in both streams, and the rows stay in the queue."""
    submit_file(operator, queue, make_purchase_csv(1))
    postgres.admin.execute("DROP ROLE IF EXISTS nobody_special")
    postgres.admin.execute("CREATE ROLE nobody_special LOGIN")
    dsn = queue.replace("bardge@", "nobody_special@")
    result = operator.run_batch_command("worker", "--queue", dsn, "--json")
    postgres.admin.execute("DROP ROLE nobody_special")
    [event] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, event["event"], "permission denied" in event["cause"]) == (1, "failed", True)
    assert "permission denied" in result.stderr
    assert read_counts(operator, queue)["waiting"] == 1


def test_a_shared_rate_is_taken(operator: Operator, queue: str) -> None:
    """With --rate the workers take their permits from the database."""
    submit_file(operator, queue, make_purchase_csv(3))
    result = operator.run_batch_command("worker", "--queue", queue, "--until-done", "--rate", "500")
    assert (result.exit_code, operator.purchase_count) == (0, 3), result.stderr


def test_a_database_that_is_away_is_told_without_its_password(operator: Operator) -> None:
    """The message names the fault, not the URL."""
    result = operator.run_batch_command("status", "j", "--queue", "postgresql://me:secret@127.0.0.1:1/none")
    assert (result.exit_code, "secret" in result.output) == (1, False)
    assert "The queue's database" in result.stderr


def test_a_queue_is_a_database(operator: Operator) -> None:
    """Anything but a URL is refused."""
    assert operator.run_batch_command("status", "j", "--queue", "redis://127.0.0.1").exit_code == 2


def _run_without_extra(*arguments: str) -> tuple[int, str]:
    """Run the command without the extra installed."""
    hidden = "import sys; sys.modules['procrastinate'] = None; from bardge_async.cli import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", hidden, "batch", *arguments], capture_output=True, text=True, check=False
    )
    return found.returncode, found.stderr


def test_a_queue_without_its_extra_is_told(operator: Operator) -> None:
    """The message names the extra to install."""
    code, said = _run_without_extra("status", "j", "--queue", "postgresql://127.0.0.1/none")
    assert (code, "bardge-async[cli,procrastinate]" in said) == (2, True)


def test_jobs_of_this_machine_need_no_extra(operator: Operator) -> None:
    """Only --queue needs the extra."""
    code, said = _run_without_extra("status", "j")
    assert (code, "No job is named 'j'" in said) == (2, True)
