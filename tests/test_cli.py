"""The ``bardge`` command, as a user runs it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from bardge_async import BardgeClient
from bardge_async.cli._commands import bardge

BARDGE = [sys.executable, "-W", "error", "-m", "bardge_async"]


@pytest.fixture(scope="module")
def demo() -> Result:
    return CliRunner().invoke(bardge, ["demo"])


def test_demo_ends_well(demo: Result) -> None:
    """The demo exits with 0."""
    assert demo.exit_code == 0, demo.output


@pytest.mark.parametrize(
    "words",
    [
        "passes in all",
        "Pass expiry updated successfully",
        "requests sent: 2, replayed: server",
        "charges in the server's ledger: 1",
        "NotFoundError: credits.purchase: 404",
        "covered by the pass: booked immediately",
        "no visits left: more cost",
        "a co-pay is due",
        "is already cancelled",
        "access code",
    ],
)
def test_demo_tells(demo: Result, words: str) -> None:
    """The demo explains every part of the main job."""
    assert words in demo.output


def test_demo_fits_a_plain_terminal(demo: Result) -> None:
    """The demo prints ASCII without escapes, in lines that fit a terminal."""
    assert demo.output.isascii()
    assert "\x1b" not in demo.output
    assert max(map(len, demo.output.splitlines())) <= 120


def test_module_is_the_command() -> None:
    """``python -m bardge_async --version`` is ``bardge --version``."""
    run = subprocess.run([*BARDGE, "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("bardge, version ")


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, str]]:
    with subprocess.Popen(
        [*BARDGE, "sandbox", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)


def test_sandbox_prints_what_to_set(served: dict[str, str]) -> None:
    """``bardge sandbox --port 0`` prints base URL and key on lines of their own."""
    assert served.keys() == {"BARDGE_BASE_URL", "BARDGE_API_KEY"}


def test_sandbox_serves(served: dict[str, str]) -> None:
    """The printed base URL and key work, with any HTTP client."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        served["BARDGE_BASE_URL"] + "/passes", headers={"Authorization": f"Bearer {served['BARDGE_API_KEY']}"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        assert answer.status == 200


def test_sandbox_serves_the_client(served: dict[str, str]) -> None:
    """The printed variables are those that the client reads from the environment."""

    async def get_balance() -> object:
        async with BardgeClient(served["BARDGE_API_KEY"], served["BARDGE_BASE_URL"]) as client:
            return (await client.clients.get_credits("client_abc123")).currency

    assert asyncio.run(get_balance()) == "NGN"


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_sandbox_stops_without_a_traceback(name: signal.Signals) -> None:
    """Ctrl-C ends the sandbox with 0 and no traceback."""
    with subprocess.Popen(
        [*BARDGE, "sandbox", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(name)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "Stopped.\n")


def test_sandbox_on_a_taken_port_says_so(served: dict[str, str]) -> None:
    """A port in use is an error message, not a traceback."""
    port = served["BARDGE_BASE_URL"].split(":")[2].split("/")[0]
    run = CliRunner().invoke(bardge, ["sandbox", "--port", port])
    assert run.exit_code == 1
    assert "Error: " in run.output
    assert "Traceback" not in run.output


def test_missing_click_names_the_extra() -> None:
    """Without click the command names the extra to install."""
    code = "import sys; sys.modules['click'] = None; from bardge_async.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "bardge-async[cli" in run.stderr


def test_help_needs_no_aiohttp() -> None:
    """``bardge --help`` imports neither aiohttp nor cattrs."""
    code = (
        "import sys; from click.testing import CliRunner; from bardge_async.cli._commands import bardge; "
        "CliRunner().invoke(bardge, ['--help']); print(sorted({'aiohttp', 'cattrs'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
