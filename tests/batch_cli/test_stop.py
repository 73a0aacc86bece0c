"""Ctrl-C and similar signals: one for an orderly end, two for an immediate one; a kill is survived."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.batch_cli.conftest import BUY, PACKAGES, Operator, Scripted, make_purchase_csv
from tests.support.net import call_back_then
from tests.support.server import hang, reply

BOUGHT = reply(200, {"balance": 1})
COMMAND = [sys.executable, "-W", "error", "-m", "bardge_async", "batch"]


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal(operator: Operator, scripted: Scripted, name: signal.Signals) -> None:
    """The first signal starts no more rows, completes those in flight, writes the results and says how to continue."""
    before = signal.getsignal(name)
    server = scripted(PACKAGES, BOUGHT, call_back_then(lambda: os.kill(os.getpid(), name), BOUGHT), BOUGHT)
    result = operator.run_file(make_purchase_csv(500), "--concurrency", "2")
    assert (result.exit_code, signal.getsignal(name)) == (130, before)
    assert "Stopping: requests in flight are being completed." in result.stderr
    assert f"Resume with: bardge batch resume j --base-url {server.base_url}" in result.stderr
    statuses = operator.read_statuses()
    assert (len(statuses), set(statuses)) == (500, {"done", "not run"})
    assert statuses.count("done") == len(server.requests) - 1


def test_ignored_signal(operator: Operator, scripted: Scripted) -> None:
    """A signal that the command was started to ignore, as by nohup, stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        scripted(PACKAGES, call_back_then(lambda: os.kill(os.getpid(), signal.SIGHUP), BOUGHT), BOUGHT)
        assert operator.run_file(make_purchase_csv(20)).exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_resume_after_a_signal(operator: Operator, scripted: Scripted) -> None:
    """Rows that were done before the signal are not sent again by the resumed run."""
    server = scripted(PACKAGES, call_back_then(lambda: os.kill(os.getpid(), signal.SIGINT), BOUGHT), BOUGHT)
    operator.run_file(make_purchase_csv(200))
    assert operator.run_batch_command("resume", "j").exit_code == 0
    keys = [request.headers["idempotency-key"] for request in server.requests if request.method == "POST"]
    assert len(keys) == len(set(keys)) == 200
    assert set(operator.read_statuses()) == {"skipped", "done"}


def test_signal_as_json(operator: Operator, scripted: Scripted) -> None:
    """``--json`` reports the interruption, and the command to continue with."""
    scripted(PACKAGES, call_back_then(lambda: os.kill(os.getpid(), signal.SIGINT), BOUGHT), BOUGHT)
    operator.write_file(make_purchase_csv(200))
    said = operator.run_json("run", "clients.csv", *BUY, "--job", "j", "--yes")
    assert (said["interrupted"], said["exit_code"]) == (True, 130)
    assert said["counts"]["not_run"] == 200 - said["counts"]["done"]


def test_signal_before_the_first_row(operator: Operator, scripted: Scripted) -> None:
    """A signal before anything is sent ends the command immediately, and leaves no results."""
    scripted(call_back_then(lambda: os.kill(os.getpid(), signal.SIGINT)))
    result = operator.run_file(make_purchase_csv(5))
    assert (result.exit_code, result.stderr) == (130, "Error: Interrupted.\n")
    assert not (operator.folder / "clients.j.results.csv").exists()


@pytest.fixture
def hanging(operator: Operator, scripted: Scripted) -> Iterator[subprocess.Popen[str]]:
    """A run whose requests are never answered, after the first of them were sent."""
    read, write = os.pipe()
    scripted(PACKAGES, call_back_then(lambda: os.write(write, b"x"), hang()), hang())
    operator.write_file(make_purchase_csv(50))
    arguments = [*COMMAND, "run", "clients.csv", *BUY, "--job", "j", "--yes"]
    with subprocess.Popen(arguments, cwd=operator.folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not select.select([read], [], [], 0.5)[0]:
                assert process.poll() is None
            yield process
        finally:
            process.kill()
            os.close(read)
            os.close(write)


def test_second_signal(operator: Operator, hanging: subprocess.Popen[str]) -> None:
    """The second Ctrl-C ends the run immediately; requests in flight are recorded as in doubt."""
    assert hanging.stderr is not None
    hanging.send_signal(signal.SIGINT)
    for line in hanging.stderr:
        if "Ctrl-C again stops immediately" in line:
            break
    hanging.send_signal(signal.SIGINT)
    rest = hanging.stderr.read()
    assert (hanging.wait(), "Traceback" in rest) == (130, False), rest
    assert "Resume with: bardge batch resume j --base-url" in rest
    assert operator.run_json("doubts", "j")


def test_kill(operator: Operator, hanging: subprocess.Popen[str]) -> None:
    """A run that was killed is reported by ``status``, keeps its doubts, and releases its lock."""
    old = operator.write_file("old\n", "clients.j.results.csv")
    hanging.kill()
    hanging.wait()
    said = operator.run_json("status", "j")
    assert (said["running"], said["counts"]["in_doubt"] > 0, said["counts"]["done"]) == (None, True, 0)
    assert len(operator.run_json("doubts", "j")) == said["counts"]["in_doubt"]
    assert old.read_text() == "old\n"
