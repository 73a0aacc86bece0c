"""``bardge journal``: look into a journal, and settle what is in doubt."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import attrs
import click

from bardge_async._client import BardgeClient
from bardge_async._core.entry import EntryState, Record
from bardge_async._core.secret import Secret
from bardge_async._core.window import Moment
from bardge_async._doubts.recovery import DoubtVerdict, Finding, settle, settlement
from bardge_async._journal import PostgresJournal, SQLiteJournal
from bardge_async._runtime.clock import SystemClock
from bardge_async.errors import BardgeError

Store: TypeAlias = SQLiteJournal | PostgresJournal
_WAYS: Final = ("done", "never_happened", "by_evidence")
_DAY: Final = 86_400.0


@asynccontextmanager
async def _opened(place: Path | Secret, keep_bodies: float, keep_entries: float) -> AsyncGenerator[Store]:
    if isinstance(place, Path):
        with SQLiteJournal(place, keep_bodies=keep_bodies, keep_entries=keep_entries) as file:
            yield file
        return
    tables = PostgresJournal(place, patience=0, keep_bodies=keep_bodies, keep_entries=keep_entries)
    async with tables:
        yield tables


@attrs.frozen
class Desk:
    """Where a command works, a file or a database; how it tells, which server and account are meant, its API key."""

    path: Path | Secret
    as_json: bool
    account: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None

    def tell(self, value: object, lines: Sequence[str]) -> None:
        """Print a value as JSON, or lines for people."""
        click.echo(json.dumps(value) if self.as_json else "\n".join(lines))

    def run(
        self, work: Callable[[Store], Coroutine[Any, Any, None]], keep_bodies: float = 30.0, keep_entries: float = 400.0
    ) -> None:
        """Do something with the journal, which keeps things for so many days; its errors are messages."""

        async def opened() -> None:
            async with _opened(self.path, keep_bodies * _DAY, keep_entries * _DAY) as journal:
                await work(journal)

        try:
            anyio.run(opened)
        except BardgeError as error:
            raise click.ClickException(str(error)) from error

    def meant(self, records: Sequence[Record]) -> list[Record]:
        """Leave out other servers and accounts, where one was named."""
        return [
            record
            for record in records
            if self.account in {None, record.identity.account} and self.base_url in {None, record.identity.base_url}
        ]


def list_entries(desk: Desk, *, unfinished: bool) -> None:
    """Print the entries, oldest first."""

    async def work(journal: Store) -> None:
        records = desk.meant(await journal.listed(unfinished=unfinished))
        none = "Nothing is in doubt." if unfinished else "The journal is empty."
        desk.tell([facts_of(record) for record in records], [_line(record) for record in records] or [none])

    desk.run(work)


def resolve(desk: Desk, key: str, ways: dict[str, bool]) -> None:
    """Settle one doubt in one way."""
    chosen = [name for name in _WAYS if ways[name]]
    if len(chosen) != 1:
        raise click.UsageError("Give exactly one of --done, --never-happened and --by-evidence.")

    async def work(journal: Store) -> None:
        record = await _one(desk, journal, key)
        if chosen == ["by_evidence"]:
            verdict = await _verdict(desk, journal, record)
            answer = settlement(key, done=None, never_happened=False, by=verdict)
        else:
            verdict = None
            answer = settlement(key, done=ways["done"], never_happened=ways["never_happened"], by=None)
        await settle(journal, SystemClock(), record.identity, answer, by=verdict)
        said = "is free to be sent again" if answer is None else "is recorded as done"
        value = {"key": key, "state": "free" if answer is None else "done"}
        evidence = [] if verdict is None else [f"  {line}" for line in verdict.evidence]
        desk.tell(value if verdict is None else {**value, "verdict": _told(verdict)}, [f"{key} {said}.", *evidence])

    desk.run(work)


def reconcile(desk: Desk, key: str | None) -> None:
    """Look for evidence of one doubt or all; nothing is changed."""

    async def work(journal: Store) -> None:
        doubts = await journal.listed(unfinished=True)
        records = desk.meant(doubts) if key is None else [await _one(desk, journal, key)]
        verdicts = [await _verdict(desk, journal, record) for record in records]
        lines = [line for verdict in verdicts for line in _words(verdict)]
        desk.tell([_told(verdict) for verdict in verdicts], lines or ["Nothing is in doubt."])

    desk.run(work)


def prune(desk: Desk, keep_bodies: float, keep_entries: float) -> None:
    """Remove what is kept long enough."""

    async def work(journal: Store) -> None:
        gone = await journal.prune(time.time())
        desk.tell({"forgotten": gone}, [f"{gone} entries forgotten."])

    desk.run(work, keep_bodies, keep_entries)


async def _one(desk: Desk, journal: Store, key: str) -> Record:
    """Find the one doubt of a key."""
    found = [record for record in desk.meant(await journal.listed(unfinished=True)) if record.identity.key == key]
    if not found:
        raise click.ClickException(f"{key} is not in doubt.")
    if len(found) > 1:
        places = ", ".join(f"{record.identity.base_url} {record.identity.account!r}" for record in found)
        raise click.ClickException(f"{key} is in doubt at several places, name one by --account or base URL: {places}")
    return found[0]


async def _verdict(desk: Desk, journal: Store, record: Record) -> DoubtVerdict:
    """Ask the server that the doubt belongs to, with the desk's key or the environment's."""
    base_url, account, key = record.identity
    named = os.environ.get("BARDGE_BASE_URL", base_url)
    if named.rstrip("/") != base_url.rstrip("/"):
        raise click.ClickException(f"{key} belongs to {base_url}; BARDGE_BASE_URL names {named}")
    async with BardgeClient(desk.api_key, base_url, account=account, journal=journal) as bardge:
        return await bardge.reconcile(key)


def facts_of(record: Record) -> dict[str, Any]:
    """Tell programs what is on record, without the bodies."""
    answer = record.answer
    return {
        "base_url": record.identity.base_url,
        "account": record.identity.account,
        "key": record.identity.key,
        "endpoint": record.endpoint,
        "state": _state(record),
        "first_sent_at": _at(record.first_sent),
        "last_sent_at": _at(record.last_sent),
        "status": None if answer is None else answer.status,
        "request_id": None if answer is None else answer.request_id,
    }


def _line(record: Record) -> str:
    place = record.identity.base_url + (f" [{record.identity.account}]" if record.identity.account else "")
    return f"{_at(record.last_sent) or '-'}  {_state(record):8}  {record.endpoint}  {record.identity.key}  {place}"


def _state(record: Record) -> str:
    return "in doubt" if record.state is EntryState.SENT else record.state.value


def _at(moment: Moment | None) -> str | None:
    return None if moment is None else _seconds(moment.at())


def _seconds(instant: dt.datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


def _told(verdict: DoubtVerdict) -> dict[str, Any]:
    return {
        "key": verdict.idempotency_key,
        "first_sent_at": _seconds(verdict.first_sent_at),
        "finding": verdict.finding.value,
        "inferred": verdict.inferred,
        "evidence": list(verdict.evidence),
    }


def _words(verdict: DoubtVerdict) -> list[str]:
    said = {
        Finding.HAPPENED: "happened",
        Finding.DID_NOT: "did not happen",
        Finding.CANNOT_TELL: "cannot be told",
    }[verdict.finding]
    weak = " (by inferred fields)" if verdict.inferred else ""
    return [f"{verdict.idempotency_key}: {said}{weak}", *(f"  {line}" for line in verdict.evidence)]
