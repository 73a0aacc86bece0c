"""The options of a run, and how they are read."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from bardge_async._calls import options as client_options
from bardge_async.cli.batch._errors import UsageError
from bardge_async.errors import ConfigurationError


@attrs.frozen(kw_only=True)
class RunOptions:
    """The options of a run, from the command line or the job's description."""

    # The names are those of click's parameters, which are passed on as keywords.
    file: str
    operation: str
    job: str
    base_url: str
    account: str
    id: str | None = None
    maps: dict[str, str] = attrs.Factory(dict[str, str])
    concurrency: int = 64
    rate: float | None = None
    journal: Path | None = None
    out: Path | None = None
    retry_refused: bool = False
    dry_run: bool = False
    yes: bool = False
    key_from_stdin: bool = False
    as_json: bool = False


def resolve_base_url(base_url: str | None) -> str:
    """Return the given base URL, else the environment's, else the vendor's.

    Raises:
        UsageError: It is not a valid base URL.
    """
    try:
        return client_options.resolve_base_url(base_url or None)
    except ConfigurationError as error:
        raise UsageError(f"{error}.") from None


def find_base_url(base_url: str | None) -> str | None:
    """Return the given base URL, else the environment's, else None."""
    return resolve_base_url(base_url) if base_url or os.environ.get(client_options.BASE_URL_VARIABLE) else None


def parse_maps(values: tuple[str, ...]) -> dict[str, str]:
    """Parse the values of ``--map FIELD=COLUMN``.

    Raises:
        UsageError: A value is not a pair, or names a field again.
    """
    maps: dict[str, str] = {}
    for pair in values:
        field, sign, column = (part.strip() for part in pair.partition("="))
        if not field or not sign or not column or field in maps:
            what = "names a field twice" if field in maps else "expected FIELD=COLUMN"
            raise UsageError(f"--map: {what}, got {pair!r:.80}.")
        maps[field] = column
    return maps
