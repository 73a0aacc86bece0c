"""The client: takes the settings, offers the resources."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

import attrs

from bardge_async._calls.client_caller import ClientCaller
from bardge_async._calls.events import Hook
from bardge_async._calls.idempotency import IdempotentClient
from bardge_async._calls.options import (
    check_account,
    check_limiter,
    require_type,
    resolve_base_url,
    resolve_journal,
    resolve_key_source,
    resolve_timeouts,
)
from bardge_async._core.custom_endpoints import custom_endpoint, find_endpoint
from bardge_async._core.http import Response
from bardge_async._core.keys import check_key, new_key
from bardge_async._core.secret import ApiKeySource, Secret, hide_api_key, hide_given_key, hide_token, require_usable
from bardge_async._core.settings import ReplayWindow, RetryPolicy, Timeouts
from bardge_async._doubts.recovery import Doubt, Doubts, DoubtVerdict, Recovered
from bardge_async._journal import Journal
from bardge_async._limits import Limiter
from bardge_async._pagination import Walk
from bardge_async._resources import Resources
from bardge_async._runtime.clock import Clock, choose_clock
from bardge_async.endpoints import Endpoint
from bardge_async.models import UNSET, Unset

if TYPE_CHECKING:
    import ssl as _ssl

    import aiohttp

    from bardge_async._batch import Batch, Operation
    from bardge_async._network import Transport

Q = TypeVar("Q")
R = TypeVar("R")

_DRAIN_TIMEOUT: Final = 10.0


class BardgeClient(Resources):
    """Call the Bardge Reseller API V3.

    One client serves any number of tasks, event loops, threads and ``asyncio.run`` calls. It may be created outside of
    a loop and connects on first use. Use it with ``async with``, or call ``aclose()``.

    Args:
        api_key: The key, or a callable, sync or async, that is called once and after a 401. Default: ``BARDGE_API_KEY``.
        base_url: HTTPS, or plain HTTP to loopback. Default: ``BARDGE_BASE_URL`` in the environment, else the vendor's.
        timeout: :class:`Timeouts`, or the seconds of a whole call, retries included.
        retry: How often and with what backoff calls are retried.
        window: How long the server remembers a key.
        journal: Stores keys and outcomes. Default: a :class:`MemoryJournal`, for this process only.
        limiter: Grants permits to send, for example for one rate across processes; the client never closes it.
        account: A label of the reseller's account; separates the keys of several accounts in a shared journal.
        hooks: Synchronous callables that receive every :class:`Event`; what they raise is logged (see :data:`Hook`).
        paths: Corrected paths by endpoint name, with the same placeholders.
        keyed: Whether the server honours the idempotency key, by endpoint name, where you know better than the table.
        transport: Sends requests in place of aiohttp.
        session: Your own aiohttp session: used as it is, in its loop only, and never closed by the client.
        ssl: A context that trusts your own CA.
        proxy: URL of an HTTP proxy; proxies set in the environment are ignored.
        max_connections: Maximum concurrent requests per event loop.
        clock: The time source of all waits and time limits.

    Raises:
        ConfigurationError: A setting is invalid. The API key never appears in the message.
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
        keyed: Mapping[str, bool] | None = None,
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
        # Loaded here so that neither `import bardge_async` nor the first call takes the time.
        from bardge_async._calls import factory as parts  # noqa: PLC0415 - brings aiohttp and cattrs

        importlib.import_module("bardge_async._batch")
        importlib.import_module("bardge_async._doubts.evidence")
        clock = choose_clock(clock)
        url = resolve_base_url(base_url)
        settings = parts.ClientSettings(
            base_url=url,
            credentials=parts.Credentials(resolve_key_source(key)),
            timeouts=resolve_timeouts(timeout),
            policy=RetryPolicy() if retry is None else require_type("retry", retry, RetryPolicy),
            window=ReplayWindow() if window is None else require_type("window", window, ReplayWindow),
            account=check_account(account),
            journal=resolve_journal(journal),
            notifier=parts.Notifier(hooks),
            limiter=check_limiter(limiter),
        )
        wire = parts.build_transport(clock, url, transport=transport, session=session, ssl=ssl, proxy=proxy)
        builder = parts.RequestBuilder(url).with_overrides(paths, keyed)
        self._caller = ClientCaller(builder, parts.build_engine(settings, wire, clock, max_connections))
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
        keyed: Mapping[str, bool] | Unset = UNSET,
        limiter: Limiter | Unset | None = UNSET,
    ) -> BardgeClient:
        """Return a client with other settings over the same connections, which only the original client closes.

        A different ``api_key`` is assumed to be another account's: pass its label as ``account``, too, or the client
        gets its own journal in memory. With another key or label, throttling, retry budget and pace are its own, too,
        and it has no ``limiter`` unless you pass one.

        Raises:
            ConfigurationError: A setting is invalid.
        """
        key = None if isinstance(api_key, Unset) else hide_given_key(api_key)
        del api_key
        from bardge_async._calls import factory as parts  # noqa: PLC0415 - imported already

        old = self._caller.settings
        settings = attrs.evolve(
            old,
            credentials=old.credentials if key is None else parts.Credentials(require_usable(key)),
            limiter=old.limiter if isinstance(limiter, Unset) else check_limiter(limiter),
            timeouts=old.timeouts if isinstance(timeout, Unset) else resolve_timeouts(timeout),
            policy=old.policy if isinstance(retry, Unset) else require_type("retry", retry, RetryPolicy),
            account=old.account if isinstance(account, Unset) else check_account(account),
            journal=resolve_journal(None) if key is not None and isinstance(account, Unset) else old.journal,
            notifier=old.notifier if isinstance(hooks, Unset) else parts.Notifier(hooks),
        )
        if isinstance(limiter, Unset) and not settings.is_same_account(old):
            settings = attrs.evolve(settings, limiter=None)
        builder = self._caller.request_builder.with_overrides(paths, keyed)
        return BardgeClient._from_caller(self._caller.with_settings(settings, builder))

    @classmethod
    def _from_caller(cls, caller: ClientCaller) -> Self:
        """Create a client over connections that another one owns."""
        client = cls.__new__(cls)
        Resources.__init__(client, caller)
        client._caller = caller  # noqa: SLF001 - of this class
        return client

    def idempotent(self, key: str | None = None) -> IdempotentClient:
        """Open a block for one POST with one key: ``async with bardge.idempotent("order-8731") as once``.

        Derive the key from the operation's business id, never from a task id, an attempt or the body, and store it
        first. Without ``key`` a new one is generated.

        Raises:
            InvalidArgumentError: The key is not 1-255 visible ASCII characters without leading or trailing spaces.
        """
        return IdempotentClient(self._caller, new_key() if key is None else check_key(key))

    def resume(self, cursor: str) -> Walk[Any]:
        """Resume a walk after the last item that it delivered, in this process or a later one.

        The cursor itself names the list to walk and is trusted: pass only cursors from your own storage. For cursors
        that came from outside, use the walk's ``resume``: ``bardge.bookings.list_for_client("c1").resume(cursor)``.

        Raises:
            InvalidArgumentError: The text is not a cursor, or is corrupt; nothing was sent.
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
        """Call an endpoint and return its result with status, headers, request id and attempts.

        Args:
            endpoint: An endpoint, or its name, such as ``"credits.purchase"``.
            path: The path arguments, in the path's order.
            request: The request object, for endpoints that take one.
            key: The idempotency key of a POST. Default: a new one, for endpoints that take one.
            lookup_token: For endpoints that take one.

        Raises:
            InvalidArgumentError: The endpoint does not take an argument, or its value is invalid.
            BardgeError: The call failed.
        """
        lookup_token = hide_token(lookup_token)
        built = self._caller.build_request(find_endpoint(endpoint), path, request, key, lookup_token)
        return await self._caller.run(built)

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
        """Call a path that has no endpoint here, with the same authentication, retries, idempotency and errors.

        Args:
            method: GET, POST, PUT, PATCH or DELETE. All but GET are sent with a key and count as charging.
            path: Below the base URL, such as ``"/passcodes"``; characters not allowed in a URL are percent-encoded.
            request: A request object or a mapping, sent as JSON.
            response: The class of the result. Default: plain JSON, fractions as Decimal; None for a 200, 201, 202 or
                204 without a body.
            query: Query values.
            key: The idempotency key. Default: a new one.
            keyed: Whether the server honours the key here, so that an unanswered call may be retried.
            lookup_token: Sent as ``Bardge-Lookup-Token``.

        Raises:
            InvalidArgumentError: An argument is invalid.
            BardgeError: The call failed.
        """
        lookup_token = hide_token(lookup_token)
        endpoint = custom_endpoint(
            method, path, object if response is None else response, body=request is not None, keyed=keyed
        )
        return await self._caller.run(self._caller.build_request(endpoint, (), request, key, lookup_token, query=query))

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

        Every operation has the key ``operation_key(job, endpoint, id)``: with a journal on disk, running the same batch
        again, however it ended, performs only what is not done yet. Failed operations do not stop the others. An
        invalid API key, a disabled account or an unwritable journal ends the batch with that error.

        ``recover()`` runs first and then every 5 seconds. Concurrency adapts to the server, for all batches of the
        client together, and so does ``rate``.

        Args:
            operations: Any iterable; consumed as needed, with at most twice ``concurrency`` operations in memory.
            job: The job's name: the same for every run of a job, different for different jobs.
            concurrency: Maximum concurrent operations; no more than ``max_connections``.
            rate: Maximum operations per second; any one second may exceed it by ``max(1, 3 %)``.
            ordered: Deliver outcomes in the order of the operations.
            retry_refused: Send again what the API refused in an earlier run.

        Raises:
            ConfigurationError: An argument is out of range.
        """
        from bardge_async._batch import Batch, BatchOptions  # noqa: PLC0415

        plan = BatchOptions(job=job, concurrency=concurrency, rate=rate, ordered=ordered, retry_refused=retry_refused)
        return Batch(self._caller, operations, plan)

    async def recover(self) -> list[Recovered]:
        """Resend POSTs in doubt whose window is still open, with the same keys and bytes.

        Call it when a process starts, and every few seconds in workers, so that a crash seldom leaves a doubt. Entries
        in use by a live process are skipped, so any number of processes may call it concurrently.

        Raises:
            JournalError: The journal cannot be read.
        """
        return await Doubts(self._caller).recover()

    async def in_doubt(self) -> list[Doubt]:
        """Return the POSTs that were sent and have no recorded outcome, oldest first, excluding those in flight.

        Raises:
            JournalError: The journal cannot be read.
        """
        return await Doubts(self._caller).list_doubts()

    async def reconcile(self, key: str) -> DoubtVerdict:
        """Look for evidence of a POST in doubt in the server's lists; nothing is changed.

        Credit purchases, issued passes and bookings leave evidence. The verdict "did not happen" needs a list that
        reaches back before the first send and a window closed for 5 minutes; "happened" needs exactly one match that
        no other entry claims. Act on the verdict with ``resolve(key, by=verdict)``.

        Raises:
            InvalidArgumentError: The key is not in doubt.
            BardgeError: A list could not be read.
        """
        doubts = Doubts(self._caller)
        entry = await doubts.find_entry(key)
        rivals = await doubts.find_competing_entries(entry)
        settings, now = self._caller.settings, self._caller.clock_reader.now()
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
        """Resolve a doubt by hand, with exactly one of ``done``, ``never_happened`` and ``by``.

        Args:
            key: The key in doubt.
            done: It happened: True, or the response's JSON object, which a later call with the key then returns.
            never_happened: It did not happen: the key may be sent again.
            by: A conclusive verdict of ``reconcile``.

        Raises:
            InvalidArgumentError: The key is not in doubt, or not exactly one of the three was given.
            KeyInUseError: A task or process is using the key.
            JournalError: The journal cannot be written.
        """
        await Doubts(self._caller).resolve(key, done=done, never_happened=never_happened, by=by)

    async def aclose(self) -> None:
        """Wait up to 10 seconds for calls in flight, then close the connections; later calls raise ``NotSentError``."""
        if not self._owns_connections:
            return
        await self._caller.aclose(_DRAIN_TIMEOUT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # In a traceback of a failed __init__ there is no caller yet.
        url = self._caller.settings.base_url if hasattr(self, "_caller") else None
        return f"BardgeClient(base_url={url!r}, api_key='***')"

    def __del__(self) -> None:
        if self._owns_connections and self._caller.is_unclosed:
            text = f"unclosed {self!r}: use `async with` or aclose()"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
