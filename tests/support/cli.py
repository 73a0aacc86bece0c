"""Run the command line in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from bardge_async.cli._commands import bardge


def run_bardge(*arguments: object) -> Result:
    """Run ``bardge`` with arguments; everything but text is converted."""
    return CliRunner().invoke(bardge, [*map(str, arguments)])
