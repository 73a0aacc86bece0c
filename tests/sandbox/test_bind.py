"""Binding to other addresses than loopback is explicit and prints a warning."""

from __future__ import annotations

import asyncio

import pytest
from click.testing import CliRunner

from bardge_async.cli._commands import bardge
from bardge_async.cli._sandbox import serve

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the tests are about


async def _serve_until_printed(host: str) -> dict[str, str]:
    """Serve until the last line is printed."""
    lines: list[str] = []
    ready = asyncio.Event()

    def record_line(line: str) -> None:
        lines.append(line)
        if line.startswith("BARDGE_SANDBOX_URL="):
            ready.set()

    task = asyncio.ensure_future(
        serve(
            record_line,
            host=host,
            port=0,
            db=None,
            seed=1,
            latency=0,
            window=90,
            window_from="received",
            cache_errors=False,
        )
    )
    await ready.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), (EVERYWHERE, True)])
async def test_binding_elsewhere_warns(host: str, capsys: pytest.CaptureFixture[str], *, warned: bool) -> None:
    """For addresses other than this machine's, a warning is printed on stderr."""
    await _serve_until_printed(host)
    assert (f"Warning: anyone who can reach {host}" in capsys.readouterr().err) is warned


async def test_controls_are_named() -> None:
    """Other processes learn where the controls are from the server's root."""
    said = await _serve_until_printed("127.0.0.1")
    assert said["BARDGE_SANDBOX_URL"] == said["BARDGE_BASE_URL"].partition("/v3/")[0] + "/_sandbox"


def test_bind_is_the_option() -> None:
    """``--bind`` defaults to loopback, and ``--host`` does not bypass it."""
    asked = CliRunner().invoke(bardge, ["sandbox", "--help"])
    wrong = CliRunner().invoke(bardge, ["sandbox", "--host", EVERYWHERE])
    assert ("--bind" in asked.output, "127.0.0.1" in asked.output, wrong.exit_code) == (True, True, 2)
