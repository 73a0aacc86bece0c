"""Where the API key comes from: never from the command's arguments, which every user of the machine can read."""

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
    """Return the key: from standard input if that was asked for, the environment, or a keyring; None without one.

    Raises:
        UsageError: Standard input holds none.
    """
    if from_stdin:
        key = Secret(require_stdin().readline().strip())
        if not key:
            raise UsageError("--api-key-stdin: standard input holds no key.", "Write it there, on one line.")
        return key
    value = os.environ.get("BARDGE_API_KEY", "")
    return Secret(value) if value else _read_keyring(account)


def require_api_key(key: Secret | None, account: str) -> Secret:
    """Return a key that is there.

    Raises:
        UsageError: None is.
    """
    if key is not None:
        return key
    raise UsageError(
        "There is no API key.",
        f"Set BARDGE_API_KEY, keep it in a keyring (keyring set {_SERVICE} {account or _ACCOUNT}), "
        "or pass it on standard input with --api-key-stdin.",
    )


def _read_keyring(account: str) -> Secret | None:
    try:
        keyring: Any = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        found = keyring.get_password(_SERVICE, account or _ACCOUNT)
    except Exception:  # noqa: BLE001 - each kind of keyring has its own errors; then there is none to be had
        return None
    return Secret(found) if found else None
