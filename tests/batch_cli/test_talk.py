"""What is printed, where, and in how many columns; where the API key comes from."""

from __future__ import annotations

import errno
import importlib.util
import io
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.text import Text

from bardge_async import BardgeClient, OperationStatus
from bardge_async.cli._commands import bardge
from bardge_async.cli.batch._errors import UsageError
from bardge_async.cli.batch._options import RunOptions
from bardge_async.cli.batch._progress import BarDisplay, LineDisplay, ProgressCounter, format_duration
from bardge_async.cli.batch._run import run_job
from bardge_async.cli.batch._terminal import Output, run_command
from bardge_async.errors import ConfigurationError
from bardge_async.testing import FakeTransport
from tests.batch_cli.conftest import BUY, Operator, make_purchase_csv


@pytest.fixture
def figures() -> ProgressCounter:
    """The counters of a long job in progress."""
    batch = BardgeClient("key", transport=FakeTransport()).batch([], job="j")
    found = ProgressCounter("renewals-2026-11-of-all-clients", 100_000, batch, 0.0)
    numbers = (60_000, 1_012, 100, 200, 1, 3)
    batch.counts.update(dict(zip(OperationStatus, numbers, strict=True)))
    found.add_sample(300.0)
    return found


def draw_bar(figures: ProgressCounter, width: int, **options: object) -> str:
    """Return what is written to a terminal of this width."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=25, force_terminal=True, legacy_windows=False, **options)  # type: ignore[arg-type]
    bar = BarDisplay(console)
    bar.show_progress(figures)
    bar.show_message("Stopping")
    bar.close_display()
    return file.getvalue()


def strip_escapes(text: str) -> list[str]:
    """Return the lines of a terminal's text without its escapes."""
    return [line.rstrip() for line in Text.from_ansi(text).plain.splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_bar_fits(figures: ProgressCounter, width: int) -> None:
    """The bar has three lines, each within the terminal's columns."""
    lines = [line for line in strip_escapes(draw_bar(figures, width, color_system=None)) if line]
    assert max(map(len, lines)) <= width
    assert lines[-2:] == [
        "done 60,000  replayed 1,012  skipped 100  refused 200  failed 1  in doubt 3",
        "204/s, 3:09 left, 0 of 0 in flight",
    ]


def test_bar_tells_what_happens(figures: ProgressCounter) -> None:
    """Messages printed during the run stand above the bar."""
    assert "Stopping" in strip_escapes(draw_bar(figures, 80, color_system=None))


def test_no_color(figures: ProgressCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR turns colours off."""
    coloured = draw_bar(figures, 80, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert ("\x1b[32m" in coloured, "\x1b[32m" in draw_bar(figures, 80, color_system="standard")) == (True, False)


def test_lines(figures: ProgressCounter, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are plain lines on standard error."""
    LineDisplay(Output()).show_progress(figures)
    said = capsys.readouterr()
    assert said.err == (
        "renewals-2026-11-of-all-clients: 61,316 of 100,000 (61%), 204/s, 3:09 left, 0 of 0 in flight; "
        "done 60,000, replayed 1,012, skipped 100, refused 200, failed 1, in doubt 3\n"
    )
    assert not said.out


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0:00"), (61, "1:01"), (3_725, "1:02:05")])
def test_duration(seconds: float, words: str) -> None:
    """Times are printed in hours, minutes and seconds."""
    assert format_duration(seconds) == words


def test_rate_is_of_late(figures: ProgressCounter) -> None:
    """The rate is that of the last seconds, not of the whole run."""
    for second in range(301, 330):
        figures.batch.counts[OperationStatus.DONE] += 10
        figures.add_sample(second)
    assert figures.rate == pytest.approx(10)


def test_pipe_has_no_escapes(operator: Operator) -> None:
    """Without a terminal nothing is coloured or moved."""
    result = operator.run_file(make_purchase_csv(3))
    assert "\x1b" not in result.output
    assert "j: 3 of 3 (100%)" in result.stderr


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.EIO, text)


def test_gone_reader(figures: ProgressCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed terminal, or a reader that goes away, does not end the run."""
    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setattr(sys, "stdout", Gone())
    Output().write_message("hello")
    Output(as_json=True).write_result({"a": 1})
    bar = BarDisplay(Console(file=Gone(), width=80, force_terminal=True))
    bar.show_progress(figures)
    bar.show_message("hello")
    bar.close_display()
    assert figures.finished


@pytest.mark.parametrize("flag", [True, False])
def test_traceback(operator: Operator, monkeypatch: pytest.MonkeyPatch, flag: bool) -> None:
    """A traceback is shown only on request, by option or environment."""
    result = operator.run_batch_command("status", "none")
    assert "Traceback" not in result.stderr
    if not flag:
        monkeypatch.setenv("BARDGE_TRACEBACK", "1")
    assert "Traceback" in operator.run_batch_command("status", "none", *["--traceback"] * flag).stderr


def test_no_escapes_from_files(operator: Operator) -> None:
    """The content of a file cannot control the terminal."""
    result = operator.run_file("id,client_id,pack\x1b[2Jage\n1,c,p\n")
    assert ("\x1b" in result.stderr, "pack\\x1b[2Jage" in result.stderr) == (False, True)


@pytest.mark.parametrize("file", ["-", "clients.csv"])
def test_no_standard_input(operator: Operator, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """A command that was started without standard input reports what is missing."""
    operator.write_file(make_purchase_csv(1))
    monkeypatch.setattr(sys, "stdin", None)
    voice = Output()
    order = RunOptions(file=file, operation=BUY[1], job="j", base_url=operator.sandbox.base_url, account="")
    with pytest.raises(UsageError, match=r"standard input"):
        run_job(order, voice)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "Error: [Errno 28] No space left on device."),
        (sqlite3.OperationalError("database or disk is full"), "Error: database or disk is full."),
        (ConfigurationError("api_key: no"), "Error: api_key: no"),
        (KeyError("x"), "Error: This is a bug in bardge: KeyError: 'x'.\nReport it, with the output of --traceback."),
    ],
)
def test_every_error_is_a_message(capsys: pytest.CaptureFixture[str], error: Exception, words: str) -> None:
    """Whatever exception ends a command, it prints a message and exits with 1."""

    def fail() -> int:
        raise error

    assert run_command(fail, Output(), with_traceback=False) == 1
    assert capsys.readouterr().err == words + "\n"


def test_error_as_json(operator: Operator) -> None:
    """``--json`` prints errors for programs, too."""
    said = operator.run_json("status", "none")
    assert said == {
        "error": {"message": "No job is named 'none'.", "mend": "Recorded jobs: none.", "request_id": None},
        "exit_code": 2,
    }


def test_key_from_standard_input(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--api-key-stdin`` reads the key from standard input."""
    monkeypatch.delenv("BARDGE_API_KEY")
    path = operator.write_file(make_purchase_csv(2))
    arguments = ["run", path.name, *BUY, "--job", "j", "--yes", "--api-key-stdin"]
    assert operator.run_batch_command(*arguments, input=operator.sandbox.api_key + "\n").exit_code == 0
    assert operator.run_batch_command(*arguments, input="\n").exit_code == 2


def test_key_and_rows_from_standard_input(operator: Operator) -> None:
    """Standard input cannot hold both the key and the rows."""
    result = operator.run_batch_command("run", "-", *BUY, "--job", "j", "--yes", "--api-key-stdin", input="x")
    assert (result.exit_code, "already contains the rows" in result.stderr) == (2, True)


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A module like keyring that a test can write."""
    monkeypatch.delenv("BARDGE_API_KEY", raising=False)
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delitem(sys.modules, "keyring", raising=False)
    yield folder / "keyring.py"
    sys.modules.pop("keyring", None)


def test_keyring(operator: Operator, keyring: Path) -> None:
    """Without BARDGE_API_KEY the keyring is asked for the account's key."""
    key = operator.sandbox.api_key
    keyring.write_text(
        f"def get_password(service, user):\n    return {{'bardge/acme': {key!r}}}.get(f'{{service}}/{{user}}')"
    )
    assert operator.run_file(make_purchase_csv(1)).exit_code == 2
    assert operator.run_file(make_purchase_csv(1), "--account", "acme").exit_code == 0


@pytest.mark.parametrize("module", ["def get_password(service, user):\n    raise RuntimeError", None])
def test_no_keyring(operator: Operator, keyring: Path, module: str | None) -> None:
    """Without a working keyring, the message names all the ways to give a key."""
    if module is not None:
        keyring.write_text(module)
    assert (module is None) == (importlib.util.find_spec("keyring") is None)
    result = operator.run_file(make_purchase_csv(1))
    assert (result.exit_code, operator.purchase_count) == (2, 0)
    assert "There is no API key.\nSet BARDGE_API_KEY, keep it in a keyring" in result.stderr


@pytest.mark.parametrize("url", ["http://example.com", "ftp://x", "https://user:secret@x", "nonsense"])
def test_bad_server(operator: Operator, url: str) -> None:
    """An invalid base URL is reported without showing any of it."""
    result = operator.run_file(make_purchase_csv(1), "--base-url", url)
    assert (result.exit_code, "Error: base_url: " in result.stderr, "secret" in result.stderr) == (2, True, False)


def complete_words(words: str) -> list[str]:
    """Return what bash completes some words with."""
    parts = words.split(" ")
    env = {"_BARDGE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1)}
    result = CliRunner().invoke(bardge, [], env=env, prog_name="bardge")
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_completion(operator: Operator) -> None:
    """The shell completes operations and jobs."""
    operator.run_file(make_purchase_csv(1), job="renewals")
    assert complete_words("bardge batch run f --op credits") == ["credits.purchase"]
    assert complete_words("bardge batch resume ren") == ["renewals"]


@pytest.mark.parametrize("command", ["status", "resume", "doubts"])
def test_a_job_of_this_machine_needs_no_database(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Without the queue extra, commands about jobs on this machine still work."""
    operator.run_file(make_purchase_csv(1))
    monkeypatch.delitem(sys.modules, "bardge_async.cli.batch._queue_jobs", raising=False)
    monkeypatch.delattr("bardge_async.cli.batch._queue_jobs", raising=False)
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    assert operator.run_batch_command(command, "j").exit_code == 0
    result = operator.run_batch_command(command, "j", "--queue", "postgresql://nobody@nowhere/none")
    assert (result.exit_code, "A queue needs an extra" in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("command", [["submit", "f", *BUY, "--job", "j"], ["worker"]])
def test_queue_without_its_extra(operator: Operator, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """A queue command names the extra that it needs."""
    for name in ("_queue_jobs", "_submit"):
        monkeypatch.delitem(sys.modules, f"bardge_async.cli.batch.{name}", raising=False)
        monkeypatch.delattr(f"bardge_async.cli.batch.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    result = operator.run_batch_command(*command, "--queue", "postgresql://nobody@nowhere/none")
    assert (result.exit_code, "pip install 'bardge-async[cli,procrastinate]'" in result.stderr) == (2, True)


def test_help_names_exit_codes() -> None:
    """``--help`` documents the exit codes."""
    for command in ("run", "resume"):
        words = CliRunner().invoke(bardge, ["batch", command, "--help"]).stdout
        assert all(f"\n    {code:3}  " in words for code in ("0", "1", "2", "3", "4", "130"))


def test_help_needs_little() -> None:
    """``bardge batch run --help`` imports neither aiohttp nor cattrs nor rich."""
    code = (
        "import sys; from click.testing import CliRunner; from bardge_async.cli._commands import bardge; "
        "CliRunner().invoke(bardge, ['batch', 'run', '--help']); "
        "print(sorted({'aiohttp', 'cattrs', 'rich'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
