"""Run programs in a Python process that finds only what Windows and macOS have of this system.

Our own modules find no ``fcntl``, ``resource`` and ``pwd``; the signals, the functions of ``os`` and the handlers of the
event loop that Windows lacks are gone for all. What is left is the portable path; those systems themselves are not here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

_PRELUDE = """
import asyncio, builtins, os, signal, sys
real_import = builtins.__import__
def import_what_is_left(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if name in {"fcntl", "resource", "pwd"} and importer.startswith("bardge_async"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real_import(name, globals, locals, fromlist, level)
import psycopg, aiohttp, click, rich, filelock, shutil, tempfile, subprocess
sys.platform = {platform!r}
import platformdirs
builtins.__import__ = import_what_is_left
for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTSTP"):
    delattr(signal, name)
for name in ("getuid", "geteuid", "fchmod", "O_CLOEXEC", "mkfifo"):
    delattr(os, name)
unix_loop = asyncio.SelectorEventLoop
del unix_loop.add_signal_handler, unix_loop.remove_signal_handler
"""
COMMAND = "from bardge_async.cli import main; main()"


def make_arguments(program: str, *arguments: object, platform: str = "darwin") -> list[str]:
    """Return the command line of a program on such a system."""
    code = _PRELUDE.replace("{platform!r}", repr(platform)) + textwrap.dedent(program)
    return [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]


def run_elsewhere(
    program: str, *arguments: object, platform: str = "darwin", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program on such a system."""
    return subprocess.run(
        make_arguments(program, *arguments, platform=platform),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
    )
