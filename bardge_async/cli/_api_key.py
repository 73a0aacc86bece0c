"""Find the API key. It is never a command-line argument: every user of the machine can read those."""

from __future__ import annotations

import importlib
import os
from typing import Any, Final

from bardge_async._core.secret import Secret
from bardge_async.cli.batch._errors import UsageError
from bardge_async.cli.batch._rows.file import require_stdin

_SERVICE: Final = "bardge"
_ACCOUNT: Final = "default"


def find_api_key(account: str, *, from_stdin: bool) -> Secret | None:
    """Return the API key from standard input if requested, else the environment, else a keyring; None if not found.

    Raises:
        UsageError: Standard input contains no key.
    """
    if from_stdin:
        key = Secret(require_stdin().readline().strip())
        if not key:
            raise UsageError("--api-key-stdin: standard input contains no key.", "Write the key to it, on one line.")
        return key
    value = os.environ.get("BARDGE_API_KEY", "")
    return Secret(value) if value else _read_keyring(account)


def require_api_key(key: Secret | None, account: str) -> Secret:
    """Return the key.

    Raises:
        UsageError: There is no key.
    """
    if key is not None:
        return key
    raise UsageError(
        "There is no API key.",
        f"Set BARDGE_API_KEY, keep it in a keyring (keyring set {_SERVICE} {account or _ACCOUNT}), "
        "or pass it on standard input with --api-key-stdin.",
    )


def provide_no_key() -> str:
    """Return an empty API key, for a client that sends nothing."""
    return ""


def _read_keyring(account: str) -> Secret | None:
    try:
        keyring: Any = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        found = keyring.get_password(_SERVICE, account or _ACCOUNT)
    except Exception:  # noqa: BLE001 - keyring backends raise errors of their own; each means no key
        return None
    return Secret(found) if found else None
