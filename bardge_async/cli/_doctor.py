"""``bardge doctor``: examine machine, account and contract, and print or write what was found."""

from __future__ import annotations

import html
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import attrs
import click

from bardge_async._calls.options import BASE_URL_VARIABLE
from bardge_async._client import BardgeClient
from bardge_async._core.settings import DEFAULT_BASE_URL, check_base_url
from bardge_async._version import __version__
from bardge_async.cli._api_key import find_api_key
from bardge_async.cli.batch._jobs.files import jobs_folder
from bardge_async.doctor import Check, Examination, FieldStatus, RowFinding, RowStatus, examine
from bardge_async.endpoints import ENDPOINTS, KeySupport
from bardge_async.errors import ConfigurationError

_CONTRADICTED: Final = 3
_UNREACHABLE: Final = 1
_ENOUGH_BYTES: Final = 100 * 1024 * 1024
_OWN_AFFAIRS: Final = frozenset({"API key", "job folder and journal", "disk space", "proxy"})
"""Checks that are not in the report: they are no business of the vendor."""
_SIGNS: Final = {True: "ok", False: "FAULT", None: "-"}


def run_doctor(*, client_id: str | None, as_json: bool, report: Path | None) -> int:
    """Examine, print the result, and return the exit code: 0, 3 with contradictions, 1 without a usable connection."""
    examination = anyio.run(_examine, client_id)
    if as_json:
        click.echo(json.dumps(to_document(examination), indent=2))
    else:
        for line in _write_lines(examination):
            click.echo(line)
    if report is not None:
        _write_report(report, examination)
    if not examination.connected:
        return _UNREACHABLE
    return _CONTRADICTED if examination.contradictions else 0


async def _examine(client_id: str | None) -> Examination:
    key = find_api_key("", from_stdin=False)
    surroundings = tuple(_check_surroundings(has_key=key is not None))
    if key is None:
        return Examination(surroundings, Check("account", False, "nothing was sent: there is no API key"), ())
    try:
        async with BardgeClient(key) as bardge:
            found = await examine(bardge, client_id=client_id)
    except ConfigurationError as error:
        return Examination(surroundings, Check("account", False, f"nothing was sent: {error}"), ())
    return attrs.evolve(found, machine=(*surroundings, *found.machine))


def _check_surroundings(*, has_key: bool) -> Iterator[Check]:
    """Check what the command line uses besides the network."""
    if not has_key:
        yield Check("API key", False, "not found: set BARDGE_API_KEY, or keep it in a keyring")
    else:
        yield Check(
            "API key", True, f"found in {'BARDGE_API_KEY' if os.environ.get('BARDGE_API_KEY') else 'a keyring'}"
        )
    yield _check_base_url()
    try:
        folder = jobs_folder()
    except click.ClickException as error:
        yield Check("job folder and journal", False, error.format_message())
        return
    place = next(path for path in (folder, *folder.parents) if path.exists())
    writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    text = "can be written" if writable else "cannot be written: `bardge batch` keeps its journal there"
    yield Check("job folder and journal", writable, f"{folder} {text}")
    free = shutil.disk_usage(place).free
    yield Check("disk space", free >= _ENOUGH_BYTES, f"{free // 1024**2} MiB free there")


def _check_base_url() -> Check:
    given = os.environ.get(BASE_URL_VARIABLE)
    if not given:
        return Check("base URL", True, f"{DEFAULT_BASE_URL}, the vendor's")
    try:
        return Check("base URL", True, f"{check_base_url(given)}, from {BASE_URL_VARIABLE}")
    except ConfigurationError as error:
        return Check("base URL", False, f"from {BASE_URL_VARIABLE}: {error}")


def to_document(examination: Examination) -> dict[str, Any]:
    """Return the examination as JSON values: names and types, no value of an answer."""
    return {
        "version": __version__,
        "connected": examination.connected,
        "machine": [attrs.asdict(check) for check in examination.machine],
        "account": attrs.asdict(examination.account),
        "rows": [{**attrs.asdict(row), "contradictions": list(row.contradictions)} for row in examination.rows],
        "contradictions": list(examination.contradictions),
        "options": list(_list_options(examination)),
    }


def _list_options(examination: Examination) -> Iterator[str]:
    yield from examination.options
    unproven = [name for name, endpoint in ENDPOINTS.items() if endpoint.key is KeySupport.UNPROVEN]
    if examination.connected:
        keyed = ", ".join(f'"{name}": True' for name in unproven)
        yield f"keyed={{{keyed}}}  # only once the vendor has confirmed it: a GET cannot show whether a key is honoured"


def _write_lines(examination: Examination) -> Iterator[str]:
    for title, checks in (("Machine", examination.machine), ("Account", (examination.account,))):
        yield title
        yield from (f"  {_SIGNS[check.ok]:5} {check.name}: {check.text}" for check in checks)
    if not examination.connected:
        return
    yield "Contract"
    for row in examination.rows:
        yield f"  {_summarize(row)}"
        yield from (f"          {line}" for line in _list_remarks(row))
    count = len(examination.contradictions)
    yield f"{count} contradictions" if count else "No contradiction."
    yield "Options of BardgeClient:"
    yield from (f"  {option}" for option in _list_options(examination))


def _summarize(row: RowFinding) -> str:
    sign = "FAULT" if row.contradictions else "-" if row.status is RowStatus.NOT_EXAMINED else "ok"
    counts = {status: sum(field.status is status for field in row.fields) for status in FieldStatus}
    shown = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    return f"{sign:5} {row.endpoint} ({row.mark.value}): {row.reason or shown or row.status.value}"


def _list_remarks(row: RowFinding) -> Iterator[str]:
    yield from row.paging
    for field in row.fields:
        if field.status is FieldStatus.CONTRADICTED:
            yield f"{field.path}: expected {field.expected}, found {field.found}"
        elif field.status is FieldStatus.NEW:
            yield f"{field.path}: new, {field.found}"
        elif field.status is FieldStatus.NOT_SEEN:
            yield f"{field.path}: not seen ({field.mark.value if field.mark else ''})"


_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .5rem;text-align:left;"
    "vertical-align:top}.fault{color:#a00;font-weight:bold}ul{margin:0;padding-left:1.2rem}"
)


def _write_report(path: Path, examination: Examination) -> None:
    """Write a page that needs nothing else, to be sent to the vendor."""
    try:
        path.write_text(render_report(examination), encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--report") from None


def render_report(examination: Examination) -> str:
    """Return the examination as a self-contained HTML page."""
    shown = (check for check in (*examination.machine, examination.account) if check.name not in _OWN_AFFAIRS)
    checks = "".join(_table_row(_SIGNS[check.ok], check.name, check.text) for check in shown)
    rows = "".join(_render_row(row) for row in examination.rows)
    count = len(examination.contradictions)
    verdict = f'<p class="fault">{count} contradictions</p>' if count else "<p>No contradiction was found.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Bardge API examination</title><style>{_STYLE}</style>'
        f"<h1>Bardge Reseller API V3: what answers show</h1><p>By bardge-async {__version__}: names and types only, no "
        f"values. Only GETs were sent.</p>{verdict}<h2>Contract</h2>"
        f"<table><tr><th>Verdict<th>Endpoint<th>Findings</tr>{rows}</table>"
        f"<h2>Machine and account</h2><table>{checks}</table></html>\n"
    )


def _render_row(row: RowFinding) -> str:
    sign, _, summary = _summarize(row).partition(" ")
    remarks = "".join(f"<li>{html.escape(line)}</li>" for line in _list_remarks(row))
    kind = ' class="fault"' if row.contradictions else ""
    name = f"{html.escape(row.endpoint)}<br><code>GET {html.escape(row.path)}</code>"
    return f"<tr><td{kind}>{sign}<td>{name}<td>{html.escape(summary.strip())}<ul>{remarks}</ul></tr>"


def _table_row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells) + "</tr>"
