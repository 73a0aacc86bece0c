"""``bardge journal``: inspect a journal and resolve doubts."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import attrs
import click
from anyio.lowlevel import checkpoint

from bardge_async._client import BardgeClient
from bardge_async._core.entry import EntryState, JournalEntry
from bardge_async._core.secret import Secret
from bardge_async._core.settings import DAY, normalize_base_url
from bardge_async._core.window import ClockReading
from bardge_async._doubts.recovery import DoubtVerdict, Finding, choose_recorded_response, resolve_doubt
from bardge_async._journal import PostgresJournal, SQLiteJournal
from bardge_async._journal.sqlite_verify import verify_journal
from bardge_async._runtime.clock import SystemClock
from bardge_async.errors import BardgeError, JournalError

AnyJournal: TypeAlias = SQLiteJournal | PostgresJournal
_PRINTED_TOGETHER: Final = 100
_CHOICES: Final = ("done", "never_happened", "by_evidence")


def is_shared() -> bool:
    """Return whether journal files may be shared with a group: ``BARDGE_JOURNAL_SHARED=1``."""
    return os.environ.get("BARDGE_JOURNAL_SHARED") == "1"


@attrs.frozen
class JournalTarget:
    """A command's journal (file or database), output format, server and account filters, and API key."""

    path: Path | Secret
    as_json: bool
    account: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None

    def print_result(self, value: object, lines: Sequence[str]) -> None:
        """Print the value as JSON, or the lines as text."""
        click.echo(json.dumps(value) if self.as_json else "\n".join(lines))

    def run(
        self,
        work: Callable[[AnyJournal], Coroutine[Any, Any, None]],
        keep_bodies: float = 30.0,
        keep_entries: float = 400.0,
    ) -> None:
        """Run work on the opened journal, with retention in days; a ``BardgeError`` becomes a message."""

        async def work_and_check(journal: AnyJournal) -> None:
            await work(journal)
            # Ctrl-C while the result was printed takes effect here.
            await checkpoint()

        async def open_and_work(dsn: Secret) -> None:
            async with PostgresJournal(dsn, patience=0, keep_bodies=bodies, keep_entries=entries) as journal:
                await work_and_check(journal)

        bodies, entries = keep_bodies * DAY, keep_entries * DAY
        try:
            if isinstance(self.path, Secret):
                anyio.run(open_and_work, self.path)
            else:
                # Opened outside of the loop, where Ctrl-C interrupts a wait for another process.
                with SQLiteJournal(self.path, keep_bodies=bodies, keep_entries=entries, shared=is_shared()) as journal:
                    anyio.run(work_and_check, journal)
        except BardgeError as error:
            raise click.ClickException(str(error)) from error

    async def select_entries(self, journal: AnyJournal, *, unfinished: bool) -> AsyncGenerator[JournalEntry]:
        """Yield the entries of the given server and account; without these, all."""
        base_url = None if self.base_url is None else normalize_base_url(self.base_url)
        async for entry in journal.entries(unfinished=unfinished):
            if self.account in {None, entry.identity.account} and base_url in {None, entry.identity.base_url}:
                yield entry


class _EntryPrinter:
    """Print entries as they are read, as one JSON array or as lines, some at a time."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._unprinted: list[str] = []
        self._is_empty = True

    def add(self, entry: JournalEntry) -> None:
        """Print an entry, now or later."""
        self._unprinted.append(json.dumps(entry_to_json(entry)) if self._as_json else _format_entry(entry))
        if len(self._unprinted) == _PRINTED_TOGETHER:
            self._print_lines()

    def finish(self, empty_text: str) -> None:
        """Print the rest, or that there was nothing."""
        self._print_lines()
        if self._as_json:
            click.echo("[]" if self._is_empty else "]")
        elif self._is_empty:
            click.echo(empty_text)

    def _print_lines(self) -> None:
        lines, self._unprinted = self._unprinted, []
        if lines and self._as_json:
            click.echo(("[" if self._is_empty else ", ") + ", ".join(lines), nl=False)
        elif lines:
            click.echo("\n".join(lines))
        self._is_empty = self._is_empty and not lines


def list_entries(target: JournalTarget, *, unfinished: bool) -> None:
    """Print the entries, oldest first."""

    async def print_entries(journal: AnyJournal) -> None:
        printer = _EntryPrinter(as_json=target.as_json)
        async for entry in target.select_entries(journal, unfinished=unfinished):
            printer.add(entry)
        printer.finish("Nothing is in doubt." if unfinished else "The journal is empty.")

    target.run(print_entries)


def resolve_entry(target: JournalTarget, key: str, choices: dict[str, bool]) -> None:
    """Resolve one doubt in exactly one way."""
    chosen = [name for name in _CHOICES if choices[name]]
    if len(chosen) != 1:
        raise click.UsageError("Give exactly one of --done, --never-happened and --by-evidence.")

    async def record_choice(journal: AnyJournal) -> None:
        entry = await _find_doubt(target, journal, key)
        if chosen == ["by_evidence"]:
            verdict = await _fetch_verdict(target, journal, entry)
            answer = choose_recorded_response(key, done=None, never_happened=False, by=verdict)
        else:
            verdict = None
            answer = choose_recorded_response(
                key, done=choices["done"], never_happened=choices["never_happened"], by=None
            )
        await resolve_doubt(journal, SystemClock(), entry.identity, answer, by=verdict)
        outcome = "is free to be sent again" if answer is None else "is recorded as done"
        value = {"key": key, "state": "free" if answer is None else "done"}
        evidence = [] if verdict is None else [f"  {line}" for line in verdict.evidence]
        target.print_result(
            value if verdict is None else {**value, "verdict": _verdict_to_json(verdict)},
            [f"{key} {outcome}.", *evidence],
        )

    target.run(record_choice)


def reconcile_doubts(target: JournalTarget, key: str | None) -> None:
    """Look for evidence about one doubt or all of them; change nothing."""

    async def print_verdicts(journal: AnyJournal) -> None:
        entries = (
            [entry async for entry in target.select_entries(journal, unfinished=True)]
            if key is None
            else [await _find_doubt(target, journal, key)]
        )
        verdicts = [await _fetch_verdict(target, journal, entry) for entry in entries]
        lines = [line for verdict in verdicts for line in _format_verdict(verdict)]
        target.print_result([_verdict_to_json(verdict) for verdict in verdicts], lines or ["Nothing is in doubt."])

    target.run(print_verdicts)


def prune_entries(target: JournalTarget, keep_bodies: float, keep_entries: float) -> None:
    """Remove bodies and entries older than the given days."""

    async def prune_and_print(journal: AnyJournal) -> None:
        removed = await journal.prune(time.time())
        target.print_result({"forgotten": removed}, [f"{removed} entries removed."])

    target.run(prune_and_print, keep_bodies, keep_entries)


def erase_client(target: JournalTarget, client_id: str) -> None:
    """Remove the bodies that name a client."""

    async def erase_and_print(journal: AnyJournal) -> None:
        changed = await journal.erase(client_id)
        target.print_result({"erased": changed}, [f"The bodies of {changed} entries removed."])

    target.run(erase_and_print)


def verify_file(path: Path, *, accept: bool, as_json: bool) -> None:
    """Print what is wrong with a journal's file, and exit with 1 if anything is."""
    try:
        faults = verify_journal(path, accept=accept)
    except JournalError as error:
        raise click.ClickException(str(error)) from error
    text = [f"{path} is whole."] if not faults else [f"{path} is not whole:", *(f"  {fault}" for fault in faults)]
    click.echo(json.dumps({"whole": not faults, "faults": faults}) if as_json else "\n".join(text))
    if faults:
        raise click.exceptions.Exit(1)


async def _find_doubt(target: JournalTarget, journal: AnyJournal, key: str) -> JournalEntry:
    """Find the one doubt of a key."""
    doubts = target.select_entries(journal, unfinished=True)
    entries = [entry async for entry in doubts if entry.identity.key == key]
    if not entries:
        raise click.ClickException(f"{key} is not in doubt.")
    if len(entries) > 1:
        places = ", ".join(f"{entry.identity.base_url} {entry.identity.account!r}" for entry in entries)
        raise click.ClickException(
            f"{key} is in doubt on several servers or accounts; pass --base-url or --account: {places}"
        )
    return entries[0]


async def _fetch_verdict(target: JournalTarget, journal: AnyJournal, entry: JournalEntry) -> DoubtVerdict:
    """Ask the server that the request was sent to, with the target's API key or the environment's."""
    base_url, account, key = entry.identity
    # The API key of one server must not be sent to another.
    configured = os.environ.get("BARDGE_BASE_URL") or base_url
    if normalize_base_url(configured) != normalize_base_url(base_url):
        raise click.ClickException(f"{key} was sent to {base_url}; unset BARDGE_BASE_URL, which is {configured}")
    async with BardgeClient(target.api_key, base_url, account=account, journal=journal) as bardge:
        return await bardge.reconcile(key)


def entry_to_json(entry: JournalEntry) -> dict[str, Any]:
    """Return the entry for JSON output, without bodies."""
    answer = entry.answer
    return {
        "base_url": entry.identity.base_url,
        "account": entry.identity.account,
        "key": entry.identity.key,
        "endpoint": entry.endpoint,
        "state": _name_state(entry),
        "first_sent_at": _format_time(entry.first_sent),
        "last_sent_at": _format_time(entry.last_sent),
        "status": None if answer is None else answer.status,
        "request_id": None if answer is None else answer.request_id,
    }


def _format_entry(entry: JournalEntry) -> str:
    server = entry.identity.base_url + (f" [{entry.identity.account}]" if entry.identity.account else "")
    sent = _format_time(entry.last_sent) or "-"
    return f"{sent}  {_name_state(entry):8}  {entry.endpoint}  {entry.identity.key}  {server}"


def _name_state(entry: JournalEntry) -> str:
    return "in doubt" if entry.state is EntryState.SENT else entry.state.value


def _format_time(reading: ClockReading | None) -> str | None:
    return None if reading is None else _format_utc(reading.to_datetime())


def _format_utc(instant: dt.datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


def _verdict_to_json(verdict: DoubtVerdict) -> dict[str, Any]:
    return {
        "key": verdict.idempotency_key,
        "first_sent_at": _format_utc(verdict.first_sent_at),
        "finding": verdict.finding.value,
        "inferred": verdict.inferred,
        "evidence": list(verdict.evidence),
    }


def _format_verdict(verdict: DoubtVerdict) -> list[str]:
    finding = {
        Finding.HAPPENED: "happened",
        Finding.DID_NOT: "did not happen",
        Finding.CANNOT_TELL: "cannot be determined",
    }[verdict.finding]
    basis = " (by inferred fields)" if verdict.inferred else ""
    return [f"{verdict.idempotency_key}: {finding}{basis}", *(f"  {line}" for line in verdict.evidence)]
