"""The client: settings in, resources out."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from bardge_async._calls.client_caller import ClientCaller, choose_key
from bardge_async._calls.events import Hook
from bardge_async._calls.idempotency import IdempotentClient
from bardge_async._calls.options import (
    check_account,
    require_method,
    require_type,
    resolve_journal,
    resolve_key_source,
    resolve_timeouts,
)
from bardge_async._core.custom_endpoints import apply_path_overrides, custom_endpoint, find_endpoint
from bardge_async._core.http import Response
from bardge_async._core.keys import check_key, new_key
from bardge_async._core.secret import ApiKeySource, Secret, hide_api_key, require_usable
from bardge_async._core.settings import DEFAULT_BASE_URL, ReplayWindow, RetryPolicy, Timeouts, check_base_url
from bardge_async._doubts.recovery import Doubt, Doubts, DoubtVerdict, Recovered
from bardge_async._journal import Journal
from bardge_async._limits import Limiter
from bardge_async._pagination import Walk
from bardge_async._resources import Resources
from bardge_async._runtime.clock import Clock, SystemClock
from bardge_async.endpoints import Endpoint
from bardge_async.models import UNSET, Unset

if TYPE_CHECKING:
    import ssl as _ssl

    import aiohttp

    from bardge_async._batch import Batch, Operation
    from bardge_async._network import Transport

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")

_DRAIN_TIMEOUT: Final = 10.0


class BardgeClient(Resources):
    """Call the Bardge Reseller API V3.

    One object serves any number of tasks, and works over several event loops, threads and ``asyncio.run`` calls. It
    may be made outside of a loop and connects on first use. Use it as ``async with``, or call ``aclose()``.

    Args:
        api_key: The key, or a callable that returns it or an awaitable of it: asked once, and again after a 401
            ``invalid_api_key``. Default: the environment's ``BARDGE_API_KEY``.
        base_url: HTTPS, or plain HTTP to loopback. Default: ``BARDGE_BASE_URL``, else the vendor's.
        timeout: :class:`Timeouts`, or the seconds of a whole call.
        retry: How often and how patiently calls are repeated.
        window: How long the server remembers a key.
        journal: Where keys and outcomes are kept; by default in this process only, as :class:`MemoryJournal` does.
        limiter: What gives turns to send, such as one rate for many processes; never closed here.
        account: A label of the reseller's account, which keeps its keys apart in a journal that several share.
        hooks: Plain callables that are told every :class:`Event`; what they raise is logged, never passed on.
        paths: Corrections of the table's paths by endpoint name, with the same placeholders.
        transport: Your own way to send requests, in place of aiohttp.
        session: Your own aiohttp session: used as it is, in its loop only, and never closed here.
        ssl: A context that trusts your own CA.
        proxy: URL of an HTTP proxy; the environment's proxies are not used.
        max_connections: Requests under way at once, per event loop.
        clock: Where all waits and time limits take their time from.

    Raises:
        ConfigurationError: Any setting that cannot work; the API key is in no message.
    """

    _owns_connections = False
    _caller: ClientCaller

    def __init__(
        self,
        api_key: ApiKeySource | None = None,
        base_url: str | None = None,
        *,
        timeout: Timeouts | float | None = None,
        retry: RetryPolicy | None = None,
        window: ReplayWindow | None = None,
        journal: Journal | None = None,
        limiter: Limiter | None = None,
        account: str = "",
        hooks: Sequence[Hook] = (),
        paths: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        session: aiohttp.ClientSession | None = None,
        ssl: _ssl.SSLContext | None = None,
        proxy: str | None = None,
        max_connections: int = 100,
        clock: Clock | None = None,
    ) -> None:
        key, base_url = hide_api_key(api_key), None if base_url is None else Secret(base_url)
        proxy = None if proxy is None else Secret(proxy)
        del api_key
        # Nobody who only imports the package pays for these, and no later call does.
        from bardge_async._calls import factory as parts  # noqa: PLC0415 - brings aiohttp and cattrs

        importlib.import_module("bardge_async._batch")
        importlib.import_module("bardge_async._doubts.evidence")
        clock = SystemClock() if clock is None else require_method("clock", clock, "elapsed")
        if transport is not None:
            require_method("transport", transport, "send")
        url = check_base_url(os.environ.get("BARDGE_BASE_URL", DEFAULT_BASE_URL) if base_url is None else base_url)
        settings = parts.ClientSettings(
            base_url=url,
            credentials=parts.Credentials(resolve_key_source(key)),
            timeouts=resolve_timeouts(timeout),
            policy=RetryPolicy() if retry is None else require_type("retry", retry, RetryPolicy),
            window=ReplayWindow() if window is None else require_type("window", window, ReplayWindow),
            account=check_account(account),
            journal=resolve_journal(journal),
            hooks=parts.Hooks(hooks),
            limiter=None if limiter is None else require_method("limiter", limiter, "acquire"),
        )
        network_transport = parts.build_transport(
            clock, url, transport=transport, session=session, ssl=ssl, proxy=proxy
        )
        engine = parts.build_engine(settings, network_transport, clock, max_connections)
        self._caller = ClientCaller(parts.RequestBuilder(url, apply_path_overrides(paths)), engine)
        super().__init__(self._caller)
        self._owns_connections = True

    def with_options(
        self,
        *,
        api_key: ApiKeySource | Unset = UNSET,
        account: str | Unset = UNSET,
        timeout: Timeouts | float | Unset = UNSET,
        retry: RetryPolicy | Unset = UNSET,
        hooks: Sequence[Hook] | Unset = UNSET,
        paths: Mapping[str, str] | Unset = UNSET,
    ) -> BardgeClient:
        """Return a client with other settings over the same connections, which only the first client closes.

        Another ``api_key`` is taken for another account: give its label as ``account`` too, else the new client has a
        journal of its own in memory.

        Raises:
            ConfigurationError: A setting that cannot work.
        """
        key = None if isinstance(api_key, Unset) else hide_api_key(api_key)
        del api_key
        from bardge_async._calls import factory as parts  # noqa: PLC0415 - imported already

        old = self._caller.engine.settings
        settings = parts.ClientSettings(
            base_url=old.base_url,
            credentials=old.credentials if key is None else parts.Credentials(require_usable(key)),
            timeouts=old.timeouts if isinstance(timeout, Unset) else resolve_timeouts(timeout),
            policy=old.policy if isinstance(retry, Unset) else require_type("retry", retry, RetryPolicy),
            window=old.window,
            account=old.account if isinstance(account, Unset) else check_account(account),
            journal=resolve_journal(None) if key is not None and isinstance(account, Unset) else old.journal,
            hooks=old.hooks if isinstance(hooks, Unset) else parts.Hooks(hooks),
            limiter=old.limiter,
        )
        path_overrides = self._caller.request_builder.paths if isinstance(paths, Unset) else apply_path_overrides(paths)
        return BardgeClient._from_caller(
            ClientCaller(
                parts.RequestBuilder(old.base_url, path_overrides), self._caller.engine.with_settings(settings)
            )
        )

    @classmethod
    def _from_caller(cls, caller: ClientCaller) -> Self:
        """Make a client over connections that another one owns."""
        client = cls.__new__(cls)
        Resources.__init__(client, caller)
        client._caller = caller  # noqa: SLF001 - of this class
        return client

    def idempotent(self, key: str | None = None) -> IdempotentClient:
        """Open a block for one POST under one key: ``async with bardge.idempotent("order-8731") as once``.

        Derive the key from the business id of what is done, never from a task id, an attempt or the body, and store it
        before the block. Without ``key`` a fresh one is made.

        Raises:
            InvalidArgumentError: A key of other than 1-255 visible ASCII characters, or with blanks at its ends.
        """
        return IdempotentClient(self._caller, new_key() if key is None else check_key(key))

    def resume(self, cursor: str) -> Walk[Any]:
        """Go on with a walk behind the last item that it delivered, in this process or a later one.

        It trusts its text, which says what list is walked: give it only cursors from your own storage. For those that
        left your process use the walk's own ``resume``: ``bardge.bookings.list_for_client("c1").resume(cursor)``.

        Raises:
            InvalidArgumentError: It is no cursor, or a damaged one; nothing was sent.
        """
        return self._caller.resume(cursor)

    @overload
    async def send(
        self,
        endpoint: Endpoint[Q, R],
        *path: str,
        request: Q | None = None,
        key: str | None = None,
        lookup_token: str | None = None,
    ) -> Response[R]: ...

    @overload
    async def send(
        self,
        endpoint: str,
        *path: str,
        request: object = None,
        key: str | None = None,
        lookup_token: str | None = None,
    ) -> Response[Any]: ...

    async def send(
        self,
        endpoint: Endpoint[Any, Any] | str,
        *path: str,
        request: object = None,
        key: str | None = None,
        lookup_token: str | None = None,
    ) -> Response[Any]:
        """Make one call of a row and return its result with status, headers, request id and attempts.

        Args:
            endpoint: A row of the table, or its name, such as ``"credits.purchase"``.
            path: The path's arguments, in its order.
            request: The request object, for rows that take one.
            key: The idempotency key of a POST; without it a fresh one is made where the row takes one.
            lookup_token: For rows that take one.

        Raises:
            InvalidArgumentError: An argument that the row does not take, or that cannot be sent.
            BardgeError: What the call came to.
        """
        row = find_endpoint(endpoint)
        return await self._caller.run(self._caller.build_request(row, path, request, key, lookup_token))

    async def request(
        self,
        method: str,
        path: str,
        *,
        request: object = None,
        response: type[R] | None = None,
        query: Mapping[str, str | float | None] | None = None,
        key: str | None = None,
        keyed: bool = False,
        lookup_token: str | None = None,
    ) -> Response[Any]:
        """Reach what has no row, with the same auth, retries, idempotency and errors.

        Args:
            method: GET, POST, PUT, PATCH or DELETE. All but GET are sent with a key and count as charging.
            path: Below the base URL, such as ``"/passcodes"``; what a URL does not allow is percent-encoded.
            request: A request object or a mapping, sent as JSON.
            response: The class of the result; without it plain JSON, fractions as Decimal.
            query: Query values.
            key: The idempotency key; a fresh one by default.
            keyed: Say that the server honours the key here, so that an unanswered call may be repeated.
            lookup_token: Sent as ``Bardge-Lookup-Token``.

        Raises:
            InvalidArgumentError: An argument that cannot be sent.
            BardgeError: What the call came to.
        """
        endpoint = custom_endpoint(
            method, path, object if response is None else response, body=request is not None, keyed=keyed
        )
        prepared = self._caller.request_builder.build(
            endpoint,
            (),
            request=request,
            query=query,
            key=choose_key(endpoint, key),
            lookup_token=lookup_token,
            given=key is not None,
        )
        return await self._caller.run(prepared)

    def batch(
        self,
        operations: Iterable[Operation[Any, Any]] | AsyncIterable[Operation[Any, Any]],
        *,
        job: str,
        concurrency: int = 64,
        rate: float | None = None,
        ordered: bool = False,
        retry_refused: bool = False,
    ) -> Batch:
        """Return a batch of operations: ``async for outcome in bardge.batch(operations, job="renewals-2026-11")``.

        Every operation has the key ``operation_key(job, row, id)``: with a journal on disk the same batch may be run
        again after any end, and does only what is not done. One bad item stops no other; a wrong API key, a disabled
        account or a journal that cannot be written stops all, and is raised when the outcomes are delivered.

        ``recover()`` runs first, and every 5 seconds. How many run at once adapts to the server, for all batches of the
        client together, and so does ``rate``.

        Args:
            operations: Any iterable; taken as they are needed, with at most twice ``concurrency`` in memory.
            job: The job's name: the same in every run of it, another for another job.
            concurrency: Operations under way at once, at most; no more than ``max_connections``.
            rate: Operations a second, at most; ``max(1, 3 %)`` more in any second.
            ordered: Deliver outcomes in the order of the operations.
            retry_refused: Send again what the API refused in an earlier run.

        Raises:
            InvalidArgumentError: An argument out of its range.
        """
        from bardge_async._batch import Batch, BatchOptions  # noqa: PLC0415

        plan = BatchOptions(job=job, concurrency=concurrency, rate=rate, ordered=ordered, retry_refused=retry_refused)
        return Batch(self._caller, operations, plan)

    async def recover(self) -> list[Recovered]:
        """Send again, under their keys and with their bytes, the POSTs in doubt whose window is still open.

        Call it when a process starts, and every few seconds in workers: a crash then seldom becomes a doubt. Entries
        that a live process works on are left alone, so any number of processes may call it at once.

        Raises:
            JournalError: The journal cannot be read.
        """
        return await Doubts(self._caller).recover()

    async def in_doubt(self) -> list[Doubt]:
        """Return the POSTs that were sent and have no outcome on record, oldest first, without those under way.

        Raises:
            JournalError: The journal cannot be read.
        """
        return await Doubts(self._caller).list_doubts()

    async def reconcile(self, key: str) -> DoubtVerdict:
        """Look for evidence of a doubt in the server's lists; nothing is changed.

        Credit purchases, issued passes and bookings leave traces. "Did not" needs a list that reaches back before the
        first send, and 5 minutes since the window closed; "happened" needs exactly one trace that no other entry
        claims. Act on the verdict with ``resolve(key, by=verdict)``.

        Raises:
            InvalidArgumentError: The key is not in doubt.
            BardgeError: A list could not be read.
        """
        doubts = Doubts(self._caller)
        entry = await doubts.find_entry(key)
        rivals = await doubts.find_competing_entries(entry)
        settings, now = self._caller.engine.settings, self._caller.engine.clock_reader.now()
        from bardge_async._doubts.evidence import DoubtContext, reconcile  # noqa: PLC0415

        return await reconcile(self, DoubtContext(entry, rivals, now, settings.window, settings.journal.forgotten))

    async def resolve(
        self,
        key: str,
        *,
        done: bool | Mapping[str, Any] | None = None,
        never_happened: bool = False,
        by: DoubtVerdict | None = None,
    ) -> None:
        """Settle a doubt by hand, in exactly one of three ways.

        Args:
            key: The key in doubt.
            done: It happened: True, or the answer's JSON object, which entering the key then returns.
            never_happened: It did not: the key is free to be sent.
            by: A verdict of ``reconcile`` that tells.

        Raises:
            InvalidArgumentError: The key is not in doubt, or not exactly one way was given.
            KeyInUseError: A task or process works on the key.
            JournalError: The journal cannot be written.
        """
        await Doubts(self._caller).resolve(key, done=done, never_happened=never_happened, by=by)

    async def aclose(self) -> None:
        """Let running calls finish, for 10 seconds at most, then close the connections; later calls are refused."""
        if not self._owns_connections:
            return
        await self._caller.engine.slots.wait_for_calls(_DRAIN_TIMEOUT)
        await self._caller.engine.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # Half made, as a frame of a failed construction holds it, it has no calls yet.
        url = self._caller.engine.settings.base_url if hasattr(self, "_caller") else None
        return f"BardgeClient(base_url={url!r}, api_key='***')"

    def __del__(self) -> None:
        if self._owns_connections and self._caller.engine.slots.was_used and not self._caller.engine.slots.is_closed:
            warnings.warn(
                f"unclosed {self!r}: use `async with` or aclose()", ResourceWarning, stacklevel=2, source=self
            )
