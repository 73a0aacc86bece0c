"""Questions about a job, and its second start: status, resume, doubts, resolve."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from bardge_async._core.entry import EntryState, Record
from bardge_async._core.keys import operation_key
from bardge_async._journal import SQLiteJournal
from bardge_async.cli import _journal as journals
from bardge_async.cli._api_key import find_key
from bardge_async.cli.batch import _run
from bardge_async.cli.batch._errors import Faults, StopError, UsageError
from bardge_async.cli.batch._jobs.files import JobFacts, Place, find_job, running
from bardge_async.cli.batch._jobs.history import Survey
from bardge_async.cli.batch._options import Order
from bardge_async.cli.batch._report import command
from bardge_async.cli.batch._rows.file import Source
from bardge_async.cli.batch._rows.reader import open_table
from bardge_async.cli.batch._rows.validation import identify
from bardge_async.cli.batch._terminal import Voice

_NO_LINE: Final = "-"


@attrs.frozen
class Job:
    """One job on record."""

    facts: JobFacts
    place: Place

    @classmethod
    def named(cls, job: str, base_url: str | None, account: str | None) -> Job:
        """Find a job.

        Raises:
            UsageError: There is none, or several.
        """
        facts = find_job(job, base_url, account)
        return cls(facts, Place.of(facts.job, facts.base_url, facts.account, Path(facts.journal)))


def status(job: Job, voice: Voice) -> int:
    """Tell how far a job has come."""
    facts, place = job.facts, job.place
    with Survey(place.journal, facts.base_url, facts.account) as survey:
        counts = survey.counts()
    done, refused, sent = (counts.get(s, 0) for s in (EntryState.DONE, EntryState.REFUSED, EntryState.SENT))
    left = max(0, facts.rows - done - refused - sent)
    pid = running(place.lock)
    known = {"rows": facts.rows, "done": done, "refused": refused, "in_doubt": sent, "not_run": left}
    value = {**attrs.asdict(facts), "running": pid, "counts": known}
    doubt = "in doubt or under way" if pid is not None else "in doubt"
    lines = [
        f"{facts.job}: {facts.operation} at {facts.base_url}" + f", account {facts.account}" * bool(facts.account),
        f"  file     {facts.file}, {facts.rows:,} rows",
        f"  done {done:,}, refused {refused:,}, {doubt} {sent:,}, not run {left:,}",
        f"  results  {facts.out}",
        f"  journal  {facts.journal}",
    ]
    if pid is not None:
        lines.append(f"  run by process {pid}")
    elif left or sent:
        lines.append(f"  not run now; go on with: {command('resume', place)}")
    voice.answer(value, lines)
    return 0


def resume(job: Job, voice: Voice, changes: dict[str, Any]) -> int:
    """Run a job again as it is on record; ``changes`` are options that were given anew."""
    facts = job.facts
    order = Order(
        file=facts.file,
        operation=facts.operation,
        job=facts.job,
        base_url=facts.base_url,
        account=facts.account,
        id=facts.id,
        maps=facts.maps,
        concurrency=facts.concurrency,
        rate=facts.rate,
        journal=Path(facts.journal),
        out=Path(facts.out),
        as_json=voice.as_json,
    )
    return _run.run(attrs.evolve(order, **changes), voice, facts.stamp)


def doubts(job: Job, voice: Voice) -> int:
    """List what was sent and has no outcome, with lines and ids."""
    records = _in_doubt(job)
    places = _places_of(job, {record.identity.key for record in records})
    found = [{**journals.facts_of(record), **places.get(record.identity.key, {})} for record in records]
    lines = [
        f"line {one.get('line', _NO_LINE)}  id {one.get('id', _NO_LINE)}  sent {one['first_sent_at']}  key {one['key']}"
        for one in found
    ]
    if lines:
        settle = command("resolve", job.place)
        lines.append(f"Settle each with: {settle} ID --done | --never-happened | --by-evidence")
    voice.answer(found, lines or ["Nothing is in doubt."])
    return 0


def resolve(job: Job, voice: Voice, wanted: str, ways: dict[str, bool]) -> int:
    """Settle the doubt of an id or a key."""
    facts = job.facts
    keys = {record.identity.key for record in _in_doubt(job)}
    key = wanted if wanted in keys else operation_key(facts.job, facts.operation, wanted)
    if key not in keys:
        raise StopError(f"{wanted!r:.120} is not in doubt.", f"What is: {command('doubts', job.place)}")
    api_key = find_key(facts.account, from_stdin=False)
    desk = journals.Desk(job.place.journal, voice.as_json, facts.account, facts.base_url, api_key)
    journals.resolve(desk, key, ways)
    return 0


def _in_doubt(job: Job) -> list[Record]:
    """Read the doubts of a job; what a run works on at the moment is none."""
    if not job.place.journal.exists():
        return []

    async def work(journal: SQLiteJournal) -> list[Record]:
        return await journal.unfinished(job.facts.base_url, job.facts.account)

    with SQLiteJournal(job.place.journal) as journal:
        return anyio.run(work, journal)


def _places_of(job: Job, keys: set[str]) -> dict[str, dict[str, Any]]:
    """Find lines and ids of keys in the job's file, as far as it is still there."""
    found: dict[str, dict[str, Any]] = {}
    faults = Faults(job.facts.file)
    try:
        with Source(Path(job.facts.file), job.facts.file) as source:
            for line in open_table(source, faults).rows(faults.add) if keys else ():
                id = identify(line, job.facts.id, faults.add)
                key = operation_key(job.facts.job, job.facts.operation, id) if id else ""
                if key in keys:
                    found[key] = {"line": line.number, "id": id}
    except UsageError:
        return found
    return found
