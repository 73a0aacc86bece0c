"""The HTTP side: routes from the table, bearer auth, request ids, faults, and one transaction per POST."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import orjson
from aiohttp import web

from bardge_async.endpoints import ENDPOINTS, Again, Endpoint
from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._errors import INVALID, Refusal, disabled, failed, no_route, wrong_key
from bardge_async.sandbox._fault_plan import Faults
from bardge_async.sandbox._faults import Fault, FaultKind
from bardge_async.sandbox._idempotency import Answer, IdempotencyStore
from bardge_async.sandbox._request import Call, Reseller
from bardge_async.sandbox._request_log import new_record, recorded
from bardge_async.sandbox._responses import Outgoing, refused, send, spoiled
from bardge_async.sandbox._settings import Settings
from bardge_async.sandbox._store import Store
from bardge_async.sandbox.behaviours import BEHAVIOURS

PREFIX: Final = "/v3/api/business/reseller"

Row: TypeAlias = Endpoint[Any, Any]
Route: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log: Final = logging.getLogger("bardge_async.sandbox")


class Server:
    """Answer the rows of the table over one store."""

    def __init__(self, store: Store, clock: SandboxClock, faults: Faults, settings: Settings) -> None:
        self.store = store
        self._clock = clock
        self._faults = faults
        self._latency = settings.latency
        self.idempotency = IdempotencyStore(store, clock, settings)
        self.requests = new_record()
        self.resellers: dict[str, Reseller] = {}
        self.admit()

    def admit(self) -> None:
        """Read who may come in, by API key."""
        rows = self.store.all("SELECT * FROM resellers WHERE api_key IS NOT NULL ORDER BY seq")
        self.resellers = {row["api_key"]: Reseller(row["seq"], row["slug"], bool(row["enabled"])) for row in rows}

    def application(self, control: Route | None = None) -> web.Application:
        """Make the aiohttp application; ``control`` answers below ``/_sandbox``."""
        app = web.Application()
        for row in ENDPOINTS.values():
            app.router.add_route(row.method, PREFIX + row.path, self._route(row))
        if control is not None:
            app.router.add_route("*", "/_sandbox{tail:(/.*)?}", control)
        app.router.add_route("*", "/{tail:.*}", self._route(None))
        return app

    def _route(self, row: Row | None) -> Route:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._serve(row, request)

        return answer

    async def _serve(self, row: Row | None, request: web.Request) -> web.StreamResponse:
        name = row.name if row else None
        fault = self._faults.take(name, self._clock.wall())
        await self._wait(fault, after=False)
        if fault and fault.instead:
            # Where the answer can be sent the request is read first, or its client sees a reset.
            body = b"" if fault.kind is FaultKind.CUT_BEFORE else await self._read(request)
            answer = Answer(0, b"", _new_request_id())
        else:
            body, answer = await self._answer(row, request)
        await self._wait(fault, after=True)
        outgoing = spoiled(answer, fault)
        self._record(request, body, name, outgoing)
        return await send(request, outgoing, self._clock)

    async def _wait(self, fault: Fault | None, *, after: bool) -> None:
        if fault and fault.kind is FaultKind.LATENCY and fault.after is after:
            await self._clock.sleep(fault.seconds or 0)

    async def _read(self, request: web.Request) -> bytes:
        try:
            return await request.read()
        except web.HTTPException:
            return b""

    def _record(self, request: web.Request, body: bytes, name: str | None, outgoing: Outgoing) -> None:
        answer, fault = outgoing.answer, outgoing.fault
        status, replayed = (answer.status, answer.replayed) if answer else (None, False)
        kind = fault.kind if fault else None
        self.requests.append(recorded(request, body, name, status=status, replayed=replayed, fault=kind))

    async def _answer(self, row: Row | None, request: web.Request) -> tuple[bytes, Answer]:
        request_id = _new_request_id()
        body = b""
        try:
            body = await request.read()
            reseller = self._authenticated(request)
            if row is None:
                raise no_route(request.method, request.path)
            return body, await self._execute(self._call(row, reseller, request, body), request_id)
        except Refusal as refusal:
            return body, refused(refusal, request_id)
        except web.HTTPException as error:
            return body, refused(Refusal(error.status, INVALID, None, error.reason), request_id)

    def _call(self, row: Row, reseller: Reseller, request: web.Request, body: bytes) -> Call:
        return Call(
            endpoint=row,
            store=self.store,
            reseller=reseller,
            url=request.path,
            path=request.match_info,
            query=request.query,
            body=body,
            key=request.headers.get("Idempotency-Key") or None,
            lookup_token=request.headers.get("Bardge-Lookup-Token") or None,
            received=self._clock.wall(),
        )

    def _authenticated(self, request: web.Request) -> Reseller:
        scheme, _, api_key = request.headers.get("Authorization", "").partition(" ")
        reseller = self.resellers.get(api_key.strip()) if scheme.lower() == "bearer" else None
        if reseller is None:
            raise wrong_key()
        if not reseller.enabled:
            raise disabled()
        return reseller

    async def _execute(self, call: Call, request_id: str) -> Answer:
        async def work() -> Answer:
            return await self._work(call, request_id, keep=True)

        if self.idempotency.honours(call):
            return await self.idempotency.once(call, work)
        return await self._work(call, request_id, keep=False)

    async def _work(self, call: Call, request_id: str, *, keep: bool) -> Answer:
        if self._latency:
            await self._clock.sleep(self._latency)
        if call.endpoint.method == "GET":
            return perform(call, request_id)
        with self.store.transaction():
            answer = perform(call, request_id)
            if keep:
                self.idempotency.keep(call, answer)
        return answer


def perform(call: Call, request_id: str) -> Answer:
    """Run a row's behaviour; a refusal undoes what it did so far."""
    try:
        if call.endpoint.method == "GET":
            body = BEHAVIOURS[call.endpoint.name](call)
        else:
            with call.store.attempt():
                body = BEHAVIOURS[call.endpoint.name](call)
    except Refusal as refusal:
        return refused(refusal, request_id)
    except Exception:  # noqa: BLE001 - an HTTP server answers 500 and lives on
        _log.exception("The behaviour of %s failed", call.endpoint.name)
        return refused(failed(), request_id)
    # The page says "200 or 201": the sandbox's choice is 201 where a second execution makes another thing.
    status = 201 if call.endpoint.again is Again.TWICE else 200
    return Answer(status, orjson.dumps(body), request_id)


def _new_request_id() -> str:
    return f"req_{secrets.token_hex(16)}"
