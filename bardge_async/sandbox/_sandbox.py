"""The sandbox, as tests, the demo and the command line use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import anyio
from aiohttp import web

from bardge_async._core.arguments import check_text
from bardge_async.errors import ConfigurationError, InvalidArgumentError
from bardge_async.sandbox import _ledger
from bardge_async.sandbox._check_in import CheckIn, check_in
from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._control import Control
from bardge_async.sandbox._drift import Drift
from bardge_async.sandbox._fault_plan import FaultPlan
from bardge_async.sandbox._faults import Fault, FaultKind
from bardge_async.sandbox._idempotency import KeptAnswer
from bardge_async.sandbox._ledger import LedgerEntry
from bardge_async.sandbox._protocol import SandboxProtocol
from bardge_async.sandbox._request import read_reseller
from bardge_async.sandbox._request_log import RecordedRequest
from bardge_async.sandbox._server import PREFIX, Server
from bardge_async.sandbox._settings import SandboxSettings, WindowFrom
from bardge_async.sandbox._store import Row, Store
from bardge_async.sandbox.seed import derive_api_key, load_seed


class Sandbox:
    """Serve a stateful fake of the API on loopback, for ``async with``.

    ``port`` 0 picks a free port. ``db`` is a file that keeps the state and survives a kill; without it the state is in
    memory. ``seed`` determines the names and keys of the initial data; its dates count from the day of the start.
    ``latency`` is the processing time of a request in seconds of ``clock``. ``window`` (seconds), ``window_from`` and
    ``cache_errors`` set what the vendor leaves open about the idempotency store. ``keyed`` says which endpoints
    honour keys where the table leaves it open or is wrong: ``{"bookings.cancel": True}``, or the names alone; the others
    do as the table says. ``drift`` is a seed: the answers to GETs then differ from the table in a few places, which
    the property ``drift`` lists. ``resellers`` is the number of accounts with a key; one more is disabled.

    Raises:
        ConfigurationError: A setting out of range; on entering, a ``db`` that cannot be used.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        db: Path | str | None = None,
        seed: int = 1,
        resellers: int = 3,
        latency: float = 0.0,
        window: float = 90.0,
        window_from: WindowFrom = "received",
        cache_errors: bool = False,
        keyed: Mapping[str, bool] | Iterable[str] = (),
        drift: int | None = None,
        clock: SandboxClock | None = None,
    ) -> None:
        self._settings = SandboxSettings(
            host=host,
            port=port,
            db=db,
            seed=seed,
            resellers=resellers,
            latency=latency,
            window=window,
            window_from=window_from,
            cache_errors=cache_errors,
            keyed=keyed,
            drift=drift,
        )
        if clock is not None and not isinstance(clock, SandboxClock):
            raise ConfigurationError(f"clock: expected SandboxClock(...), got {clock!r:.40}")
        self.clock = SandboxClock() if clock is None else clock
        self.faults = FaultPlan()
        self._store: Store | None = None
        self._server: Server | None = None
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._base_url = ""

    async def __aenter__(self) -> Self:
        self._store = Store(self._settings.db)
        try:
            if self._store.is_new:
                load_seed(self._store, self._settings, self.clock.now())
            await self._start_server(Server(self._store, self.clock, self.faults, self._settings))
        except BaseException:
            await self._stop_server()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_server()

    @property
    def base_url(self) -> str:
        """Base URL of the API, such as ``http://127.0.0.1:8080/v3/api/business/reseller``."""
        return self._base_url

    @property
    def control_url(self) -> str:
        """Base URL of the controls for other processes, such as ``http://127.0.0.1:8080/_sandbox``."""
        return f"{self._base_url.removesuffix(PREFIX)}/_sandbox"

    @property
    def api_key(self) -> str:
        """The first reseller's API key."""
        return next(iter(self._running_server.resellers))

    @property
    def api_keys(self) -> Mapping[str, str]:
        """API keys by reseller name; ``"disabled"`` is the disabled account."""
        return MappingProxyType({reseller.slug: key for key, reseller in self._running_server.resellers.items()})

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The latest requests, in order of completion."""
        return tuple(self._running_server.requests)

    @property
    def drift(self) -> tuple[Drift, ...]:
        """Where the answers differ from the table; empty without a seed."""
        return self._running_server.drift.drifts

    @property
    def kept_answers(self) -> tuple[KeptAnswer, ...]:
        """What the idempotency store replays now, earliest expiry first."""
        return self._running_server.idempotency.list_kept_answers()

    def ledger(self, client_id: str, *, reseller: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return a client's credit movements, oldest first; ``reseller`` names an account other than the first.

        Raises:
            InvalidArgumentError: No client or reseller has that id or name.
        """
        client = self._find_client(client_id, reseller)
        return _ledger.read_entries(self._running_server.store, _ledger.CREDITS, "client", client["seq"])

    def account(self, reseller: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return the movements of a reseller's account, oldest first.

        Raises:
            InvalidArgumentError: No reseller has that name.
        """
        return _ledger.read_entries(
            self._running_server.store, _ledger.ACCOUNT, "reseller", self._find_reseller(reseller)["seq"]
        )

    def check_in(self, client_id: str, provider_id: str, *, reseller: str | None = None) -> CheckIn:
        """Log a client's visit at a gym, which no endpoint does: it uses up an access code, else it takes credits.

        Raises:
            InvalidArgumentError: An unknown client, gym or reseller, or neither a valid code nor enough credits.
        """
        account = read_reseller(self._find_reseller(reseller))
        client, store = self._find_client(client_id, reseller), self._running_server.store
        return check_in(store, account, client, provider_id, self.clock.now())

    def lookup_code(self, lookup_id: str) -> str:
        """Return the code that the client of a lookup would pass on.

        Raises:
            InvalidArgumentError: No lookup has that id.
        """
        check_text("lookup_id", lookup_id)
        row = self._running_server.store.fetch_one("SELECT code FROM lookups WHERE id = ?", lookup_id)
        if row is None:
            raise InvalidArgumentError(f"lookup_id: no lookup has the id {lookup_id!r}")
        return str(row["code"])

    def rotate_key(self, reseller: str | None = None) -> str:
        """Replace a reseller's API key and return the new one; the old one fails immediately (page: Authentication).

        Raises:
            InvalidArgumentError: No reseller has that name.
        """
        row = self._find_reseller(reseller)
        # Derived from the old key: the same for the same seed.
        new = derive_api_key(self._settings.seed, f"{row['api_key']}")
        with self._running_server.store.transaction():
            self._running_server.store.execute("UPDATE resellers SET api_key = ? WHERE seq = ?", new, row["seq"])
        self._running_server.reload_api_keys()
        return new

    def reset(self) -> None:
        """Restore the initial data and keys, and remove faults and requests; the clock stays where it is."""
        server = self._running_server
        load_seed(server.store, self._settings, self.clock.now())
        server.reload_api_keys()
        server.requests.clear()
        self.faults.clear()

    def forget_requests(self) -> None:
        """Empty the request log."""
        self._running_server.requests.clear()

    def forget_keys(self) -> None:
        """Empty the idempotency store, so that the next request under any key counts as new."""
        self._running_server.idempotency.forget_all()

    def cut_after(self, endpoint: str | None = None, times: int | None = 1) -> None:
        """Cut the next connections to an endpoint after the work is committed."""
        self.faults.script([Fault(kind=FaultKind.CUT_AFTER, endpoint=endpoint, times=times)])

    def cut_before(self, endpoint: str | None = None, times: int | None = 1) -> None:
        """Cut the next connections to an endpoint before any work is done."""
        self.faults.script([Fault(kind=FaultKind.CUT_BEFORE, endpoint=endpoint, times=times)])

    @property
    def _running_server(self) -> Server:
        if self._server is None:
            raise InvalidArgumentError("the sandbox is not running; enter it with `async with` first")
        return self._server

    async def _start_server(self, server: Server) -> None:
        self._server = server
        control = Control(self, self._settings.host).answer_request
        self._runner = web.AppRunner(server.build_application(control), shutdown_timeout=0.5)
        await self._runner.setup()
        manager, loop = self._runner.server, asyncio.get_running_loop()
        assert manager is not None
        # aiohttp's own sites offer no choice of the protocol.
        self._listener = await loop.create_server(
            lambda: SandboxProtocol(manager, loop=loop, access_log=None),  # type: ignore[arg-type]  # None: no log
            self._settings.host,
            self._settings.port,
        )
        host, port = self._listener.sockets[0].getsockname()[:2]
        # An IPv6 address needs brackets in a URL.
        self._base_url = f"http://{f'[{host}]' if ':' in host else host}:{port}{PREFIX}"

    async def _stop_server(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._store is not None:
            self._store.close()

    def _find_reseller(self, slug: str | None) -> Row:
        if slug is not None:
            check_text("reseller", slug)
        wanted = slug or next(iter(self.api_keys))
        row = self._running_server.store.fetch_one("SELECT * FROM resellers WHERE slug = ?", wanted)
        if row is None:
            raise InvalidArgumentError(f"reseller: no reseller is named {wanted!r}; see api_keys for the names")
        return row

    def _find_client(self, id: str, slug: str | None) -> Row:
        check_text("client_id", id)
        sql = "SELECT * FROM clients WHERE reseller = ? AND id = ?"
        row = self._running_server.store.fetch_one(sql, self._find_reseller(slug)["seq"], id)
        if row is None:
            raise InvalidArgumentError(f"client_id: no client has the id {id!r}")
        return row


async def serve(sandbox: Sandbox, on_ready: Callable[[Sandbox], object]) -> None:
    """Serve until cancelled; ``on_ready`` is called with the sandbox once it accepts connections."""
    async with sandbox:
        on_ready(sandbox)
        await anyio.sleep_forever()
