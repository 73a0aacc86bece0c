"""Run a program in a Python process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run_program(program: str) -> str:
    """Run the text of a program, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()
