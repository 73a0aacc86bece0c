"""``bardge batch run`` from the options to the exit code."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import attrs
import click

from bardge_async._client import BardgeClient
from bardge_async._core.secret import Secret
from bardge_async._journal import SQLiteJournal
from bardge_async.cli._api_key import find_key, needed
from bardge_async.cli.batch import _report as show
from bardge_async.cli.batch._cost import NOT_KNOWN, Cost, price, priced
from bardge_async.cli.batch._errors import Faults, StopError, UsageError
from bardge_async.cli.batch._jobs.files import JobFacts, Lock, Place, check_name, known_jobs
from bardge_async.cli.batch._jobs.history import Survey
from bardge_async.cli.batch._jobs.row_log import Book
from bardge_async.cli.batch._options import Order
from bardge_async.cli.batch._progress import board
from bardge_async.cli.batch._results import results_path, write_results
from bardge_async.cli.batch._rows.columns import Fields, keyed_row
from bardge_async.cli.batch._rows.file import STDIN, Source, readable_twice, spool
from bardge_async.cli.batch._rows.reader import open_table
from bardge_async.cli.batch._rows.validation import Check, Checked, Reading
from bardge_async.cli.batch._runner import Drive, Ending, Pacing
from bardge_async.cli.batch._terminal import Voice
from bardge_async.errors import BardgeError

_POOL: Final = 100
_STDIN_NAME: Final = "stdin"


@attrs.frozen
class Prepared:
    """A job that was checked and may begin."""

    order: Order
    place: Place
    reading: Reading
    checked: Checked
    book: Book
    source: Source
    spooled: bool
    out: Path

    @property
    def left(self) -> int:
        """How many rows a run would send."""
        return self.checked.left(retry_refused=self.order.retry_refused)


def run(order: Order, voice: Voice, confirmed: list[int] | None = None) -> int:
    """Run a job and return the exit code; ``confirmed`` is the stamp of a file that was agreed to before.

    Raises:
        StopError: It cannot begin.
    """
    fields = Fields(keyed_row(order.operation), order.maps)
    place = Place.of(check_name(order.job), order.base_url, order.account, order.journal)
    if order.key_from_stdin and order.file == STDIN:
        raise UsageError("--api-key-stdin: standard input holds the rows already.", "Set BARDGE_API_KEY instead.")
    with ExitStack() as stack:
        if not order.dry_run:
            place.make()
            stack.enter_context(Lock(place.lock, place.job))
            # What was not begun leaves no copy of its rows, which are personal data.
            stack.callback(place.arriving.unlink, missing_ok=True)
        place.check(order.operation)
        ready = prepared(order, place, fields, stack, voice.say)
        key = find_key(order.account, from_stdin=order.key_from_stdin)
        cost = _cost(ready, key)
        voice.say(*_namesakes(place))
        if not ready.checked.rows:
            voice.say(f"Nothing to do: {ready.source.name} has a header and no rows.")
        voice.say(*show.before(order, place, ready.reading, ready.checked, cost))
        facts = show.before_facts(order, place, ready.checked, cost)
        if order.dry_run:
            voice.say("Dry run: nothing was sent.")
            voice.answer({**facts, "exit_code": 0})
            return 0
        if ready.left:
            needed(key, order.account)
            _confirm(order, ready, confirmed)
        _keep(ready)
        ending = _driven(ready, key, voice) if ready.checked.rows else Ending()
        return _ended(ready, ending, facts, voice)


def _namesakes(place: Place) -> list[str]:
    """Point to jobs of the same name, which know nothing of what this one does."""
    others = [each for each in known_jobs() if each.job == place.job and Path(each.journal) != place.journal]
    where = (f"{each.base_url}{f', account {each.account}' if each.account else ''}" for each in others)
    return [f"Note: another job of this name is on record for {each}." for each in where]


def prepared(order: Order, place: Place, fields: Fields, stack: ExitStack, tell: Callable[[str], None]) -> Prepared:
    """Look at every row, and at what is on record of them.

    Raises:
        StopError: Something is wrong with them.
    """
    spooled = not readable_twice(order.file)
    path, name = Path(order.file).absolute(), order.file
    if spooled:
        name = _STDIN_NAME if order.file == STDIN else order.file
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bardge-"))) if order.dry_run else None
        path = place.arriving if folder is None else folder / "input"
        spool(order.file, path)
    out = results_path(order.out, None if spooled or path == place.spooled else path, place)
    source = stack.enter_context(Source(path, name))
    faults = Faults(name)
    table = open_table(source, faults)
    book = stack.enter_context(Book())
    with Survey(place.journal, order.base_url, order.account) as survey:
        check = Check(table, fields, faults, survey, place.job)
        checked = check.run(order.id, book, tell, retry_refused=order.retry_refused)
    return Prepared(order, place, Reading(table, fields, checked.id), checked, book, source, spooled, out)


def _cost(ready: Prepared, key: Secret | None) -> Cost:
    """Ask what it will cost; a job without anything left asks nothing."""
    if not priced(ready.reading.fields.row):
        return Cost(unknown=NOT_KNOWN)
    if not ready.left:
        return Cost(unknown="none: nothing is left to send")
    if key is None:
        return Cost(unknown=f"{NOT_KNOWN}: there is no API key to ask with")

    async def ask() -> Cost:
        async with BardgeClient(key, ready.order.base_url, account=ready.order.account) as bardge:
            return await price(bardge, ready.checked.packages, ready.left)

    return asyncio.run(ask())


def _confirm(order: Order, ready: Prepared, confirmed: list[int] | None) -> None:
    if order.yes or confirmed == ready.source.stamp:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here: standard input is no terminal.", "Pass --yes to begin without.")
    if not click.confirm(f"Send {ready.left:,} operations?", err=True):
        raise StopError("Not begun: nothing was sent.")


def _keep(ready: Prepared) -> None:
    """Note what a later run needs, a copy of what can be read only once included."""
    order, place = ready.order, ready.place
    spooled = ready.spooled or ready.source.path == place.spooled
    if ready.spooled:
        place.arriving.replace(place.spooled)
    facts = JobFacts(
        job=place.job,
        operation=order.operation,
        base_url=order.base_url,
        account=order.account,
        file=str(place.spooled if spooled else ready.source.path),
        spooled=spooled,
        stamp=ready.source.stamp,
        rows=ready.checked.rows,
        id=ready.checked.id,
        maps=order.maps,
        concurrency=order.concurrency,
        rate=order.rate,
        out=str(ready.out),
        journal=str(place.journal),
    )
    place.save(facts)


def _no_key() -> str:
    """Stand for a key where nothing is to be sent."""
    return ""


def _driven(ready: Prepared, key: Secret | None, voice: Voice) -> Ending:
    order = ready.order
    drive = Drive(ready.reading, ready.checked.rows, ready.book, board(voice))
    try:
        with closing(SQLiteJournal(ready.place.journal)) as journal:
            client = BardgeClient(
                key or _no_key,
                order.base_url,
                account=order.account,
                journal=journal,
                max_connections=max(_POOL, order.concurrency),
            )
            return drive.run(client, ready.place.job, Pacing(order.concurrency, order.rate, order.retry_refused))
    except BardgeError as error:
        raise show.error_of(error) from None
    except KeyboardInterrupt:
        raise StopError(
            "Stopped at once. What was under way may have been done.",
            f"Go on with: {show.command('resume', ready.place)}",
            code=130,
        ) from None


def _ended(ready: Prepared, ending: Ending, facts: dict[str, object], voice: Voice) -> int:
    """Write the results, and tell how it ended."""
    out: Path | None = ready.out
    try:
        write_results(ready.out, ready.reading.table, ready.book, ready.checked.rows)
    except StopError as error:
        out, ending.error = None, ending.error or error
    voice.say(*show.after(ending, ready.checked, ready.place, out))
    code = show.exit_code(ending)
    voice.answer({**facts, **show.after_facts(ending, ready.checked, ready.place, out)})
    return code
