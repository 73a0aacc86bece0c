"""A queue in PostgreSQL, as the commands have it: workers, and questions about a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import attrs

from bardge_async._client import BardgeClient
from bardge_async._core.secret import Secret
from bardge_async._journal import PostgresJournal
from bardge_async._limits import PostgresLimiter
from bardge_async.cli import _journal as journals
from bardge_async.cli._api_key import find_key, needed
from bardge_async.cli.batch._errors import StopError, UsageError
from bardge_async.cli.batch._terminal import Voice

try:
    import procrastinate
    import psycopg
    from procrastinate.exceptions import ConnectorException
    from procrastinate.schema import SchemaManager

    from bardge_async.integrations.procrastinate import BardgeQueue, worker_connection
except ModuleNotFoundError as error:
    raise UsageError(
        f"A queue needs an extra: {error.name} is missing.", "pip install 'bardge-async[cli,procrastinate]'"
    ) from None

T = TypeVar("T")

_LOCK: Final = 0x42415244_51554555  # "BARDQUEU"
_POOL: Final = 100


@attrs.frozen(kw_only=True)
class Post:
    """What a worker was started with."""

    queue: Secret
    base_url: str
    account: str
    concurrency: int = 25
    rate: float | None = None
    until_done: bool = False
    delete_done: bool = False
    key_from_stdin: bool = False


@attrs.frozen
class Desk:
    """One job in a queue, at one server and account."""

    queue: Secret
    job: str
    base_url: str
    account: str


def asked(work: Callable[[], Awaitable[T]]) -> T:
    """Do something with a database; what it cannot do becomes a message.

    Raises:
        StopError: It is away, or refuses.
    """

    async def main() -> T:
        return await work()

    try:
        return asyncio.run(main())
    except (ConnectorException, psycopg.Error) as error:
        cause = error.__cause__ or error
        raise StopError(f"The queue's database: {str(cause).strip()}.", "Start it, or correct --queue.") from None


@asynccontextmanager
async def opened(
    dsn: Secret,
    client: Callable[[], Any],
    configure: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]] | None = None,
) -> AsyncGenerator[BardgeQueue]:
    """Open a queue, whose tables are made where they are missing."""
    await _make_tables(dsn)
    connector = procrastinate.PsycopgConnector(conninfo=str(dsn), configure=configure)
    app = procrastinate.App(connector=connector)
    async with app.open_async():
        yield BardgeQueue(app, client)


async def _make_tables(dsn: Secret) -> None:
    async with await psycopg.AsyncConnection.connect(str(dsn), connect_timeout=10) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        found = await connection.execute("SELECT to_regclass('procrastinate_jobs') IS NOT NULL")
        if await found.fetchone() != (True,):
            await connection.execute(SchemaManager.get_schema())


def no_client() -> Any:  # noqa: ANN401 - never called
    """Stand for a client where none works."""
    raise UsageError("This command does no operations.")


def work(post: Post, voice: Voice) -> int:
    """Work until stopped."""
    key = needed(find_key(post.account, from_stdin=post.key_from_stdin), post.account)

    @asynccontextmanager
    async def client() -> AsyncGenerator[BardgeClient]:
        async with AsyncExitStack() as stack:
            journal = await stack.enter_async_context(PostgresJournal(post.queue))
            limiter = None
            if post.rate is not None:
                name = f"{post.base_url} {post.account}"
                limiter = await stack.enter_async_context(PostgresLimiter(post.queue, name, post.rate))
            yield await stack.enter_async_context(
                BardgeClient(
                    key,
                    post.base_url,
                    account=post.account,
                    journal=journal,
                    limiter=limiter,
                    max_connections=max(_POOL, post.concurrency),
                )
            )

    async def run() -> None:
        async with opened(post.queue, client, worker_connection) as queue:
            voice.say(f"Working, {post.concurrency} at once, for {post.base_url}; Ctrl-C finishes what is under way.")
            await queue.run_worker(concurrency=post.concurrency, wait=not post.until_done, delete_done=post.delete_done)

    asked(run)
    voice.say("Stopped: what was under way is finished.")
    return 0


def status(desk: Desk, voice: Voice) -> int:
    """Tell how far a job has come, over all workers."""

    async def ask() -> dict[str, int]:
        async with opened(desk.queue, no_client) as queue, _looking(desk) as bardge:
            progress = await queue.progress(desk.job)
            return {**attrs.asdict(progress), "in_doubt": len(await queue.doubts(desk.job, bardge))}

    counts = asked(ask)
    if not sum(counts.values()):
        raise UsageError(f"No job is named {desk.job!r:.120} in this queue.")
    names = {"waiting": "waiting", "running": "under way", "done": "done", "failed": "failed", "in_doubt": "in doubt"}
    line = ", ".join(f"{said} {counts[name]:,}" for name, said in names.items())
    voice.answer({"job": desk.job, "counts": counts}, [f"{desk.job}: {line}"])
    return 0


def resume(desk: Desk, voice: Voice, changes: dict[str, Any]) -> int:
    """Put back what failed of a job."""
    if strange := changes.keys() - {"retry_refused", "yes"}:
        raise UsageError(f"--{min(strange).replace('_', '-')} is for jobs on this machine; a worker has its own.")

    async def act() -> int:
        async with opened(desk.queue, no_client) as queue:
            return await queue.resume(desk.job, retry_refused=changes.get("retry_refused", False))

    back = asked(act)
    voice.answer({"job": desk.job, "put_back": back}, [f"{desk.job}: {back:,} operations are back in the queue."])
    return 0


def doubts(desk: Desk, voice: Voice) -> int:
    """List what a job sent without an outcome."""
    found = _in_doubt(desk)
    lines = [f"id {one['id']}  sent {one['first_sent_at']}  key {one['key']}" for one in found]
    if lines:
        lines.append(
            "Settle each with: bardge batch resolve JOB ID --queue URL --done | --never-happened | --by-evidence"
        )
    voice.answer(found, lines or ["Nothing is in doubt."])
    return 0


def resolve(desk: Desk, voice: Voice, wanted: str, ways: dict[str, bool]) -> int:
    """Settle the doubt of an id or a key; ``resume`` then lets its job go on."""
    keys = [one["key"] for one in _in_doubt(desk) if wanted in {one["id"], one["key"]}]
    if not keys:
        raise StopError(f"{wanted!r:.120} is not in doubt.", "What is: bardge batch doubts JOB --queue URL")
    key = find_key(desk.account, from_stdin=False)
    journals.resolve(journals.Desk(desk.queue, voice.as_json, desk.account, desk.base_url, key), keys[0], ways)
    return 0


def _in_doubt(desk: Desk) -> list[dict[str, str]]:
    async def ask() -> list[dict[str, str]]:
        async with opened(desk.queue, no_client) as queue, _looking(desk) as bardge:
            return [
                {
                    "id": one.id,
                    "key": one.doubt.idempotency_key,
                    "endpoint": one.doubt.endpoint,
                    "first_sent_at": one.doubt.first_sent_at.isoformat(),
                }
                for one in await queue.doubts(desk.job, bardge)
            ]

    return asked(ask)


@asynccontextmanager
async def _looking(desk: Desk) -> AsyncGenerator[BardgeClient]:
    """A client that looks into the journal, and sends nothing."""
    async with (
        PostgresJournal(desk.queue) as journal,
        BardgeClient(_no_key, desk.base_url, account=desk.account, journal=journal) as bardge,
    ):
        yield bardge


def _no_key() -> str:
    """Stand for a key where nothing is to be sent."""
    return ""
