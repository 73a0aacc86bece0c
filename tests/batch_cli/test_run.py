"""Runs against the sandbox: requests, results and exit codes."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from pathlib import Path

import pytest

from bardge_async import ENDPOINTS, BardgeClient, OperationStatus, RetryPolicy
from bardge_async.cli.batch._errors import InputErrors
from bardge_async.cli.batch._jobs.files import JobFiles
from bardge_async.cli.batch._jobs.row_log import RowLog
from bardge_async.cli.batch._options import RunOptions
from bardge_async.cli.batch._progress import LineDisplay
from bardge_async.cli.batch._rows.columns import InputFields
from bardge_async.cli.batch._rows.file import InputFile
from bardge_async.cli.batch._rows.reader import open_table
from bardge_async.cli.batch._rows.validation import OperationReader
from bardge_async.cli.batch._run import run_job
from bardge_async.cli.batch._runner import JobRunner, SendOptions
from bardge_async.cli.batch._terminal import Output, run_command
from bardge_async.errors import ConnectError
from bardge_async.sandbox import Fault
from bardge_async.testing import FakeTransport, ManualClock, json_response
from tests.batch_cli.conftest import BUY, Operator, make_purchase_csv
from tests.support.net import find_refused_port


def test_every_row_is_sent_once(operator: Operator) -> None:
    """A run sends each row, writes each result in the rows' order, and exits 0."""
    result = operator.run_file(make_purchase_csv(150))
    assert (result.exit_code, operator.purchase_count) == (0, 150)
    rows = operator.read_results()
    assert [row["id"] for row in rows] == [f"o{n}" for n in range(1, 151)]
    assert {row["status"] for row in rows} == {"done"}
    assert len({row["request_id"] for row in rows}) == 150


def test_finished_job_sends_nothing(operator: Operator) -> None:
    """A finished job that is run again sends nothing, asks for nothing, needs no key, and exits 0."""
    operator.run_file(make_purchase_csv(5))
    operator.sandbox.forget_requests()
    result = operator.run_batch_command("run", "clients.csv", *BUY, "--job", "j")
    assert (result.exit_code, len(operator.sandbox.requests)) == (0, 0), result.stderr
    assert operator.read_statuses() == ["skipped"] * 5
    assert all(row["request_id"] for row in operator.read_results())


def test_finished_job_needs_no_key(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no row is left, no API key is asked for."""
    operator.run_file(make_purchase_csv(5))
    monkeypatch.delenv("BARDGE_API_KEY")
    assert operator.run_batch_command("run", "clients.csv", *BUY, "--job", "j").exit_code == 0


def test_added_rows_are_sent(operator: Operator) -> None:
    """Rows added to the file are sent, earlier ones are not."""
    operator.run_file(make_purchase_csv(3))
    operator.run_file(make_purchase_csv(5))
    assert (operator.purchase_count, operator.read_statuses()) == (5, ["skipped"] * 3 + ["done"] * 2)


def test_refused_rows(operator: Operator) -> None:
    """A refused row stops no other; the exit code is 3, and only --retry-refused sends it again."""
    bad = make_purchase_csv(3).replace("o2,client_abc123,cpkg_50", "o2,client_abc123,cpkg_none")
    result = operator.run_file(bad)
    assert (result.exit_code, operator.read_statuses()) == (3, ["done", "refused", "done"])
    assert "First refused: line 3, id o2: credits.purchase: 404" in result.stderr
    assert "cpkg_none" in operator.read_results()[1]["error"]
    operator.sandbox.forget_requests()
    assert (operator.run_file(bad).exit_code, operator.purchase_count, operator.read_statuses()[1]) == (3, 0, "refused")
    assert (operator.run_file(bad, "--retry-refused").exit_code, operator.purchase_count) == (3, 1)


def test_changed_row_fails(operator: Operator) -> None:
    """A row that differs from what is recorded as done under its id is not sent: it fails, with exit code 3."""
    operator.run_file(make_purchase_csv(2))
    operator.sandbox.forget_requests()
    result = operator.run_file(make_purchase_csv(2).replace("o2,client_abc123,cpkg_50", "o2,client_abc123,cpkg_10"))
    assert (result.exit_code, operator.read_statuses(), operator.purchase_count) == (3, ["skipped", "failed"], 0)
    assert "package_id" in operator.read_results()[1]["error"]


def test_doubts_weigh_more(operator: Operator) -> None:
    """With a doubt the exit code is 4, whatever was refused, and the command for it is printed."""
    operator.sandbox.faults.script([Fault(kind="status", endpoint="credits.purchase", status=500, after=True)])
    result = operator.run_file(
        "id,client_id,package_id\n1,client_abc123,cpkg_50\n2,client_abc123,x\n", "--concurrency", "1"
    )
    assert (result.exit_code, operator.read_statuses()) == (4, ["in_doubt", "refused"])
    assert "List the doubts with: bardge batch doubts j --base-url" in result.stderr


def test_wrong_key_stops_before_anything(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong API key is detected before anything is sent, and never shown."""
    monkeypatch.setenv("BARDGE_API_KEY", "bardge_wrong_0123456789")
    result = operator.run_file(make_purchase_csv(3))
    assert (result.exit_code, operator.purchase_count) == (1, 0)
    assert "Check the API key and the account." in result.stderr
    assert "Request id for the vendor's support: req_" in result.stderr
    assert "bardge_wrong" not in result.output


def test_key_that_dies_in_the_middle(operator: Operator) -> None:
    """A key that is rejected during the run ends the job with the results so far, exit code 1, and how to continue."""
    refusal = Fault(kind="status", endpoint="passes.update_expiry", status=401, times=None)
    operator.sandbox.faults.script([refusal])
    operator.write_file("client_id,expiry_date\n" + "".join(f"client_{n},2026-12-31\n" for n in range(300)))
    result = operator.run_batch_command("run", "clients.csv", "--op", "passes.update_expiry", "--job", "j", "--yes")
    assert result.exit_code == 1, result.stderr
    assert "Check the API key, then resume the job." in result.stderr
    assert "Resume with: bardge batch resume j" in result.stderr
    assert operator.read_statuses().count("not run") > 100


def test_what_a_dead_key_failed_is_left_to_send(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that failed for a wrong key are not refused: they count as left, and need a confirmation to be sent."""
    operator.write_file("client_id,expiry_date\nclient_abc123,2026-12-31\n")
    extend = ("run", "clients.csv", "--op", "passes.update_expiry", "--job", "j")
    with monkeypatch.context() as wrong:
        wrong.setenv("BARDGE_API_KEY", "wrong")
        assert operator.run_batch_command(*extend, "--yes").exit_code == 1
    assert operator.run_json("status", "j")["counts"] == {
        "rows": 1,
        "done": 0,
        "refused": 0,
        "in_doubt": 0,
        "not_run": 1,
    }
    operator.sandbox.forget_requests()
    result = operator.run_batch_command(*extend)
    assert (result.exit_code, operator.purchase_count) == (2, 0)
    assert "left to send: 1" in result.stderr


def test_corrected_row_is_left_to_send(operator: Operator) -> None:
    """A refused row that was corrected counts as left, and needs a confirmation to be sent."""
    operator.run_file("id,client_id,package_id\n1,client_abc123,cpkg_none\n")
    operator.sandbox.forget_requests()
    operator.write_file("id,client_id,package_id\n1,client_abc123,cpkg_50\n")
    result = operator.run_batch_command("run", "clients.csv", *BUY, "--job", "j")
    assert (result.exit_code, operator.purchase_count) == (2, 0)
    assert "left to send: 1" in result.stderr


def test_unreachable_server(operator: Operator) -> None:
    """An unreachable server is detected before anything is sent."""
    result = operator.run_file(make_purchase_csv(3), "--base-url", f"http://127.0.0.1:{find_refused_port()}")
    assert (result.exit_code, "cannot connect" in result.stderr, "Nothing was sent." in result.stderr) == (
        1,
        True,
        True,
    )


def test_server_that_goes_away(tmp_path: Path) -> None:
    """If the server goes away, the job stops after 100 consecutive failures instead of failing every row."""
    path = tmp_path / "clients.csv"
    path.write_text(make_purchase_csv(1000))
    fake = FakeTransport(*[json_response({"balance": 1})] * 50, *[ConnectError("no connection")] * 3000)
    client = BardgeClient("key", transport=fake, retry=RetryPolicy(max_attempts=1), clock=ManualClock())
    with InputFile(path, "clients.csv") as source, RowLog() as book:
        reading = OperationReader(
            open_table(source, InputErrors("clients.csv")), InputFields(ENDPOINTS["credits.purchase"], {}), "id"
        )
        ending = JobRunner(reading, 1000, book, LineDisplay(Output())).run(
            client, "j", SendOptions(8, None, retry_refused=False)
        )
    assert (ending.counts[OperationStatus.DONE], str(ending.error)[:30]) == (50, "The server is unreachable: 100")
    assert 100 <= ending.counts[OperationStatus.FAILED] < 130


def test_path_arguments(operator: Operator) -> None:
    """Columns fill the path's placeholders by the API's names."""
    operator.write_file("client_id,expiry_date\nclient_abc123,2026-12-31\n")
    result = operator.run_batch_command("run", "clients.csv", "--op", "passes.update_expiry", "--job", "j", "--yes")
    assert (result.exit_code, operator.sandbox.requests[-1].path[-30:]) == (
        0,
        "issued_passes/client_abc123/expiry"[-30:],
    )
    assert "cost       not known to the API client" in result.stderr


def test_dry_run(operator: Operator) -> None:
    """--dry-run reports everything, and leaves no purchase, no journal and no results."""
    operator.write_file(make_purchase_csv(3))
    result = operator.run_batch_command("run", "clients.csv", *BUY, "--job", "j", "--dry-run")
    assert (result.exit_code, operator.purchase_count) == (0, 0)
    for words in (
        "operation  credits.purchase: POST /credit_purchases\nagain      a second execution charges again\n",
        "file       clients.csv: 3 rows, ids in column id",
        "sends      client_id, package_id\ncopies     to the results only: nothing\n",
        f"server     {operator.sandbox.base_url}",
        "on record  nothing; left to send: 3",
        "cost       142,500 NGN, by the packages' amounts (an inferred field)",
        "Dry run: nothing was sent.",
    ):
        assert words in result.stderr
    assert [path.name for path in operator.folder.iterdir()] == ["clients.csv"]


def test_unknown_package_has_no_cost(operator: Operator) -> None:
    """A package that the API does not list is reported as having no known price."""
    operator.write_file(make_purchase_csv(2, "cpkg_none"))
    said = operator.run_json("run", "clients.csv", *BUY, "--job", "j", "--dry-run")
    assert said["cost"] == {"totals": {}, "without_amount": {"cpkg_none": 2}, "unknown": None, "inferred": True}


def test_nobody_to_ask(operator: Operator) -> None:
    """Without a terminal and without --yes nothing is sent."""
    operator.write_file(make_purchase_csv(3))
    result = operator.run_batch_command("run", "clients.csv", *BUY, "--job", "j", input="y\n")
    assert (result.exit_code, "Pass --yes to go ahead." in result.stderr, operator.purchase_count) == (2, True, 0)


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code", "bought"), [("y\n", 0, 3), ("n\n", 1, 0), ("\n", 1, 0), ("", 130, 0)])
def test_asks(operator: Operator, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, bought: int) -> None:
    """On a terminal the command asks, and only a clear yes starts the run."""
    file = operator.write_file(make_purchase_csv(3)).name
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    order = RunOptions(file=file, operation=BUY[1], job="j", base_url=operator.sandbox.base_url, account="")
    found = run_command(lambda: run_job(order, Output()), Output(), with_traceback=False)
    assert (found, operator.purchase_count) == (code, bought)


def test_pipe_as_file(operator: Operator) -> None:
    """A named pipe, as shells make for <(...), is read once and stored."""
    pipe = operator.folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(make_purchase_csv(2),))
    writer.start()
    result = operator.run_batch_command("run", "pipe", *BUY, "--job", "j", "--yes")
    writer.join()
    assert (result.exit_code, operator.read_statuses("j.results.csv")) == (0, ["done", "done"]), result.stderr
    assert operator.run_batch_command("resume", "j").exit_code == 0


def test_json(operator: Operator) -> None:
    """--json prints one object on standard output; messages stay on standard error."""
    result = operator.run_file(make_purchase_csv(3), "--json")
    said = json.loads(result.stdout)
    assert said["counts"] == {
        "done": 3,
        "replayed": 0,
        "skipped": 0,
        "refused": 0,
        "failed": 0,
        "in_doubt": 0,
        "not_run": 0,
    }
    assert (said["exit_code"], said["rows"], said["interrupted"], said["error"]) == (0, 3, False, None)
    assert said["results"] == str(operator.folder / "clients.j.results.csv")
    assert "j: 3 of 3 rows in" in result.stderr


def test_standard_input(operator: Operator) -> None:
    """Standard input is stored, readable by the owner only, and can be resumed."""
    arguments = ["run", "-", *BUY, "--job", "j", "--yes"]
    result = operator.run_batch_command(*arguments, input=make_purchase_csv(2) + "o3,client_abc123,none\n")
    assert (result.exit_code, operator.read_statuses("j.results.csv")) == (3, ["done", "done", "refused"]), (
        result.stderr
    )
    [kept] = operator.folder.glob("state/bardge/batch/*/input")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert operator.run_batch_command("resume", "j").exit_code == 3
    assert operator.read_statuses("j.results.csv") == ["skipped", "skipped", "refused"]


def test_bad_standard_input_leaves_the_kept_one(operator: Operator) -> None:
    """Bad rows on standard input do not replace those that a job was started with."""
    operator.run_batch_command("run", "-", *BUY, "--job", "j", "--yes", input=make_purchase_csv(2))
    assert (
        operator.run_batch_command("run", "-", *BUY, "--job", "j", "--yes", input="id,client_id\n1,c\n").exit_code == 2
    )
    assert operator.run_batch_command("resume", "j").exit_code == 0


def test_standard_input_that_was_not_begun_leaves_no_copy(operator: Operator) -> None:
    """Rejected or unconfirmed rows from standard input are not stored: they are personal data."""
    for rows, more in (("id,client_id\n1,c\n", ["--yes"]), (make_purchase_csv(2), [])):
        assert operator.run_batch_command("run", "-", *BUY, "--job", "j", *more, input=rows).exit_code == 2
        folder = JobFiles.for_job("j", operator.sandbox.base_url, "", None).folder
        assert [path.name for path in folder.iterdir()] == ["job.lock"]


def test_results_elsewhere(operator: Operator) -> None:
    """--out names another file."""
    assert operator.run_file(make_purchase_csv(2), "--out", "r.csv").exit_code == 0
    assert operator.read_statuses("r.csv") == ["done", "done"]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("clients.csv", "--out names the input itself"),
        (".", "is a directory"),
        ("none/r.csv", "cannot be written"),
        ("/dev/null", "cannot be written"),
    ],
)
def test_bad_results_file(operator: Operator, out: str, words: str) -> None:
    """Results that cannot be written are reported before anything is sent."""
    result = operator.run_file(make_purchase_csv(2), "--out", out)
    assert (result.exit_code, words in result.stderr, operator.purchase_count) == (2, True, 0)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_results_never_replace_what_is_remembered(operator: Operator, own: bool, begun: bool) -> None:
    """--out may not name a file of the job's own state, existing or not: overwriting it would lose what was done."""
    journal = operator.folder / "own.db" if own else JobFiles.for_job("j", operator.sandbox.base_url, "", None).journal
    options = ("--journal", journal) if own else ()
    if begun:
        operator.run_file(make_purchase_csv(1), *options)
    operator.sandbox.forget_requests()
    result = operator.run_file(make_purchase_csv(1), "--out", journal, *options)
    assert (result.exit_code, "one of the job's own files" in result.stderr, operator.purchase_count) == (2, True, 0)


@pytest.mark.parametrize(("job", "other"), [("a b", "a/b"), ("..", "/"), ("x" * 60 + "1", "x" * 60 + "2")])
def test_results_of_jobs_whose_names_are_alike(operator: Operator, job: str, other: str) -> None:
    """Two jobs of one file never share the results file."""
    operator.write_file(make_purchase_csv(1))
    run = ("run", "clients.csv", *BUY, "--yes", "--job")
    assert operator.run_json(*run, job)["results"] != operator.run_json(*run, other)["results"]


def test_results_are_for_the_owner(operator: Operator) -> None:
    """Results hold personal data: only their owner can read them."""
    operator.run_file(make_purchase_csv(2))
    assert (operator.folder / "clients.j.results.csv").stat().st_mode & 0o777 == 0o600


def test_columns_of_our_names(operator: Operator) -> None:
    """If the input has columns with our names, ours are numbered."""
    operator.run_file("status,id,client_id,package_id,error\nold,1,client_abc123,cpkg_50,none\n")
    [row] = operator.read_results()
    assert list(row) == ["status", "id", "client_id", "package_id", "error", "status_2", "error_2", "request_id"]
    assert (row["status"], row["status_2"]) == ("old", "done")


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("\uff1d1", "'\uff1d1"),
        ("-5", "-5"),
        ("+2348012345678", "+2348012345678"),
        ("-5.50", "-5.50"),
        ("-5+cmd", "'-5+cmd"),
        ("a=b", "a=b"),
        ('say "hi", twice\nor more', 'say "hi", twice\nor more'),
    ],
)
def test_formulas(operator: Operator, cell: str, written: str) -> None:
    """A cell that a spreadsheet would execute is written with a leading apostrophe; plain numbers are not."""
    quoted = cell.replace('"', '""')
    operator.run_file(f'id,client_id,package_id,note\n1,client_abc123,cpkg_50,"{quoted}"\n')
    assert operator.read_results()[0]["note"] == written


def test_json_lines_in_the_results(operator: Operator) -> None:
    """The names of all JSONL objects become columns; values other than text are written as JSON."""
    rows = [
        {"id": 1, "client_id": "client_abc123", "package_id": "cpkg_50", "tags": ["a", 1.5]},
        {"id": 2, "client_id": "client_abc123", "package_id": "cpkg_50", "vip": True, "note": None},
    ]
    operator.run_file("".join(json.dumps(row) + "\n" for row in rows), name="clients.jsonl")
    first, second = operator.read_results()
    assert list(first)[:6] == ["id", "client_id", "package_id", "tags", "vip", "note"]
    assert (first["tags"], first["vip"], second["vip"], second["note"]) == ('["a", "1.5"]', "", "true", "")
