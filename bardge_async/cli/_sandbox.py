"""``bardge sandbox``: serve the sandbox and print its addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from bardge_async._core.settings import is_loopback
from bardge_async.errors import BardgeError
from bardge_async.sandbox import Sandbox
from bardge_async.sandbox import serve as serve_sandbox


async def serve(echo: Callable[[str], None], *, host: str, **settings: Any) -> None:
    """Serve until cancelled; once ready, print base URL, API key and control URL."""

    def print_settings(sandbox: Sandbox) -> None:
        if not is_loopback(host):
            click.echo(f"Warning: anyone who can reach {host} can use this sandbox and read its data.", err=True)
        echo(f"BARDGE_BASE_URL={sandbox.base_url}")
        echo(f"BARDGE_API_KEY={sandbox.api_key}")
        echo(f"BARDGE_SANDBOX_URL={sandbox.control_url}")

    try:
        await serve_sandbox(Sandbox(host=host, **settings), print_settings)
    except (BardgeError, OSError) as error:
        raise click.ClickException(str(error)) from error
