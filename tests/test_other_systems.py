"""What runs where ``fcntl``, some signals and XDG folders are missing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from bardge_async.cli.batch._errors import CommandError
from bardge_async.cli.batch._jobs.files import make_private_folder
from bardge_async.cli.batch._jobs.job_lock import JobLock, find_running_pid
from tests.batch_cli.conftest import make_purchase_csv
from tests.support.other_system import COMMAND, make_arguments, run_elsewhere

ROWS = make_purchase_csv(3)
PLATFORMS = pytest.mark.parametrize("platform", ["linux", "darwin"])


@PLATFORMS
def test_every_module_can_be_imported(platform: str) -> None:
    """No module needs what only Linux has."""
    program = """
    import importlib, pkgutil, bardge_async
    skipped = ("bardge_async.testing.plugin", "bardge_async.__main__")
    for found in pkgutil.walk_packages(bardge_async.__path__, "bardge_async."):
        if found.name not in skipped:
            importlib.import_module(found.name)
    """
    done = run_elsewhere(program, platform=platform)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".local/state/bardge/batch"), ("darwin", "Library/Application Support/bardge/batch")],
)
def test_folder_of_jobs(tmp_path: Path, platform: str, expected: str) -> None:
    """On Linux the folder is where it always was: a moved one forgets jobs. Elsewhere it is the system's own."""
    program = "from bardge_async.cli.batch._jobs.files import jobs_folder; print(jobs_folder())"
    done = run_elsewhere(program, platform=platform, HOME=str(tmp_path), XDG_STATE_HOME="")
    assert done.stdout.strip() == str(tmp_path / expected)


def test_linux_folder_follows_the_environment(tmp_path: Path) -> None:
    """``XDG_STATE_HOME`` is honoured on Linux, as before."""
    program = "from bardge_async.cli.batch._jobs.files import jobs_folder; print(jobs_folder())"
    done = run_elsewhere(program, platform="linux", XDG_STATE_HOME=str(tmp_path))
    assert done.stdout.strip() == str(tmp_path / "bardge" / "batch")


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o277])
def test_folders_are_the_owners_only(tmp_path: Path, mask: int) -> None:
    """Whatever the umask, every folder that is made has mode 0700; those that exist keep theirs."""
    tmp_path.chmod(0o755)
    before = os.umask(mask)
    try:
        make_private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    made = [path.stat().st_mode & 0o777 for path in (tmp_path, tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c")]
    assert made == [0o755, 0o700, 0o700, 0o700]


HOLD = """
from pathlib import Path
from bardge_async.cli.batch._jobs.job_lock import JobLock
with JobLock(Path(sys.argv[1]), "j"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_job_lock_holds_across_the_ways(tmp_path: Path) -> None:
    """A run on the portable path locks its job for any other, which sees its process id."""
    path = tmp_path / "job.lock"
    with subprocess.Popen(
        make_arguments(HOLD, path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(CommandError, match=f"by process {process.pid}"):
            JobLock(path, "j")
        assert find_running_pid(path) == process.pid
        process.kill()
        process.wait()
        with JobLock(path, "j"):
            assert find_running_pid(path) == os.getpid()


@PLATFORMS
def test_checked_run(tmp_path: Path, platform: str) -> None:
    """``bardge batch run --dry-run`` checks a file with its line ends as they are."""
    (tmp_path / "clients.csv").write_bytes(ROWS.replace("\n", "\r\n").encode())
    arguments = ("batch", "run", "clients.csv", "--op", "credits.purchase", "--job", "j", "--dry-run", "--json")
    environment = {"HOME": str(tmp_path), "BARDGE_API_KEY": "", "BARDGE_BASE_URL": "http://127.0.0.1:1"}
    done = run_elsewhere(COMMAND, *arguments, platform=platform, cwd=tmp_path, **environment)
    assert (done.returncode, '"left": 3' in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sandbox_stops_on_a_signal(number: signal.Signals) -> None:
    """Where the event loop has no signal handlers, Ctrl-C still ends the sandbox in order."""
    arguments = make_arguments(COMMAND, "sandbox", "--port", "0")
    root = Path(__file__).parents[1]
    with subprocess.Popen(arguments, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("BARDGE_SANDBOX_URL"):
            assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "Stopped.\n")


def test_worker_stops_on_a_signal() -> None:
    """A queue's worker falls back to the process's own handlers, and gives them back."""
    program = """
    from bardge_async.integrations.procrastinate._worker import _add_signal_handler
    async def main():
        stopped = asyncio.Event()
        before = signal.getsignal(signal.SIGTERM)
        remove = _add_signal_handler(signal.SIGTERM, stopped.set)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopped.wait(), 10)
        remove()
        print(signal.getsignal(signal.SIGTERM) is before)
    asyncio.run(main())
    """
    assert run_elsewhere(program).stdout == "True\n"
