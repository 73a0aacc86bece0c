"""The HTTP server: routes from the endpoint table, bearer auth, request ids, faults, one transaction per POST."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs
import orjson
from aiohttp import web

from bardge_async._core.settings import is_loopback
from bardge_async.endpoints import ENDPOINTS, Endpoint, RepeatEffect
from bardge_async.errors import ConfigurationError
from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._drift import DriftPlan, plan_drifts
from bardge_async.sandbox._errors import (
    ErrorAnswer,
    account_disabled_error,
    internal_error,
    no_endpoint_error,
    permission_error,
    storage_error,
    unreadable_error,
    wrong_api_key_error,
)
from bardge_async.sandbox._fault_plan import FaultPlan
from bardge_async.sandbox._faults import Fault, FaultKind
from bardge_async.sandbox._idempotency import IdempotencyStore, SandboxResponse
from bardge_async.sandbox._origin_check import find_foreign_header
from bardge_async.sandbox._protocol import read_body
from bardge_async.sandbox._request import Reseller, SandboxRequest, read_reseller
from bardge_async.sandbox._request_log import new_request_log, record_request
from bardge_async.sandbox._responses import (
    OutgoingResponse,
    apply_fault,
    build_response,
    error_response,
    new_request_id,
    send_response,
)
from bardge_async.sandbox._settings import SandboxSettings
from bardge_async.sandbox._store import Store
from bardge_async.sandbox.behaviours import BEHAVIOURS

PREFIX: Final = "/v3/api/business/reseller"

AnyEndpoint: TypeAlias = Endpoint[Any, Any]
Route: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OK: Final = 200
_log: Final = logging.getLogger("bardge_async.sandbox")


class Server:
    """Serve the table's endpoints from one store."""

    def __init__(self, store: Store, clock: SandboxClock, faults: FaultPlan, settings: SandboxSettings) -> None:
        self.store = store
        self._clock = clock
        self._faults = faults
        self._latency = settings.latency
        self.drift = DriftPlan(() if settings.drift is None else plan_drifts(settings.drift))
        self._bound_host = settings.host
        self._any_host = not is_loopback(settings.host)
        self.idempotency = IdempotencyStore(store, clock, settings)
        self.requests = new_request_log()
        self.resellers: dict[str, Reseller] = {}
        self.reload_api_keys()

    def reload_api_keys(self) -> None:
        """Read the resellers by API key from the store."""
        rows = self.store.fetch_all("SELECT * FROM resellers WHERE api_key IS NOT NULL ORDER BY seq")
        self.resellers = {row["api_key"]: read_reseller(row) for row in rows}

    def build_application(self, control: Route | None = None) -> web.Application:
        """Return the aiohttp application; ``control`` answers below ``/_sandbox``."""
        app = web.Application()
        for endpoint in ENDPOINTS.values():
            app.router.add_route(endpoint.method, PREFIX + self.drift.find_path(endpoint), self._make_route(endpoint))
        if control is not None:
            app.router.add_route("*", "/_sandbox{tail:(/.*)?}", control)
        # Last, for whatever the routes above do not match.
        app.router.add_route("*", "/{tail:.*}", self._make_route(None))
        return app

    def _make_route(self, endpoint: AnyEndpoint | None) -> Route:
        async def serve_endpoint(request: web.Request) -> web.StreamResponse:
            return await self._serve_request(endpoint, request)

        return serve_endpoint

    async def _serve_request(self, endpoint: AnyEndpoint | None, request: web.Request) -> web.StreamResponse:
        body, unreadable = await _try_read_body(request)
        try:
            reseller = self._admit_request(request)
        except ErrorAnswer as refusal:
            # Not a call: a page in a browser or a health check must not use up a fault, or appear in the log.
            return build_response(error_response(unreadable or refusal, new_request_id()))
        name = endpoint.name if endpoint else None
        fault = self._faults.take_fault(name, self._clock.wall())
        await self._apply_latency(fault, after=False)
        request_id = new_request_id()
        if fault and fault.replaces_work:
            response = SandboxResponse(0, b"", request_id)
        elif unreadable:
            response = error_response(unreadable, request_id)
        else:
            response = await self._answer_request(endpoint, reseller, request, body, request_id)
        await self._apply_latency(fault, after=True)
        outgoing = apply_fault(response, fault)
        self._log_request(request, body, name, outgoing)
        return await send_response(request, outgoing, self._clock)

    def _admit_request(self, request: web.Request) -> Reseller:
        """Return whose call a request is.

        Raises:
            ErrorAnswer: It may come from a web page, or has no known key.
        """
        foreign = find_foreign_header(request, self._bound_host, any_host=self._any_host)
        if foreign is not None:
            raise permission_error(foreign)
        scheme, _, api_key = request.headers.get("Authorization", "").partition(" ")
        # The scheme is case-insensitive (RFC 9110, section 11.1).
        reseller = self.resellers.get(api_key.strip()) if scheme.lower() == "bearer" else None
        if reseller is None:
            raise wrong_api_key_error()
        return reseller

    async def _apply_latency(self, fault: Fault | None, *, after: bool) -> None:
        if fault and fault.kind is FaultKind.LATENCY and fault.after is after:
            await self._clock.sleep(fault.seconds or 0)

    def _log_request(self, request: web.Request, body: bytes, name: str | None, outgoing: OutgoingResponse) -> None:
        response, fault = outgoing.response, outgoing.fault
        status, replayed = (response.status, response.replayed) if response else (None, False)
        kind = fault.kind if fault else None
        self.requests.append(record_request(request, body, name, status=status, replayed=replayed, fault=kind))

    async def _answer_request(
        self, endpoint: AnyEndpoint | None, reseller: Reseller, request: web.Request, body: bytes, request_id: str
    ) -> SandboxResponse:
        try:
            if not reseller.enabled:
                raise account_disabled_error()
            if endpoint is None:
                raise no_endpoint_error(request.method, request.path)
            _check_texts(request)
            return await self._execute_or_replay(self._build_request(endpoint, reseller, request, body), request_id)
        except ErrorAnswer as refusal:
            return error_response(refusal, request_id)
        except ConfigurationError as error:
            _log.error("%s %s: %s", request.method, request.path, error)
            return error_response(storage_error(str(error)), request_id)

    def _build_request(
        self, endpoint: AnyEndpoint, reseller: Reseller, request: web.Request, body: bytes
    ) -> SandboxRequest:
        return SandboxRequest(
            endpoint=endpoint,
            store=self.store,
            reseller=reseller,
            url=request.path,
            path=request.match_info,
            query=request.query,
            body=body,
            idempotency_key=request.headers.get("Idempotency-Key") or None,
            lookup_token=request.headers.get("Bardge-Lookup-Token") or None,
            received_at=self._clock.wall(),
        )

    async def _execute_or_replay(self, request: SandboxRequest, request_id: str) -> SandboxResponse:
        async def execute_and_keep() -> SandboxResponse:
            return await self._execute_request(request, request_id, keep=True)

        if self.idempotency.honours_key(request):
            return await self.idempotency.execute_once(request, execute_and_keep)
        return await self._execute_request(request, request_id, keep=False)

    async def _execute_request(self, request: SandboxRequest, request_id: str, *, keep: bool) -> SandboxResponse:
        if self._latency:
            await self._clock.sleep(self._latency)
        if request.endpoint.method == "GET":
            return self._add_drift(request.endpoint, run_behaviour(request, request_id))
        with self.store.transaction():
            response = run_behaviour(request, request_id)
            if keep:
                self.idempotency.store_response(request, response)
        return response

    def _add_drift(self, endpoint: AnyEndpoint, response: SandboxResponse) -> SandboxResponse:
        if response.status != _OK or not self.drift.drifts:
            return response
        return attrs.evolve(response, body=self.drift.change_answer(endpoint, response.body))


def run_behaviour(request: SandboxRequest, request_id: str) -> SandboxResponse:
    """Run an endpoint's behaviour; an error answer rolls back what it changed."""
    try:
        if request.endpoint.method == "GET":
            body = BEHAVIOURS[request.endpoint.name](request)
        else:
            # A savepoint, since the transaction may still store the error under its key.
            with request.store.savepoint():
                body = BEHAVIOURS[request.endpoint.name](request)
    except ErrorAnswer as refusal:
        return error_response(refusal, request_id)
    except ConfigurationError:
        raise
    except Exception:  # noqa: BLE001 - an HTTP server answers 500 and keeps running
        _log.exception("The behaviour of %s failed", request.endpoint.name)
        return error_response(internal_error(), request_id)
    # The page says "200 or 201": the sandbox's choice is 201 where a second execution creates a duplicate.
    status = 201 if request.endpoint.repeat_effect is RepeatEffect.DUPLICATES else 200
    return SandboxResponse(status, orjson.dumps(body), request_id)


async def _try_read_body(request: web.Request) -> tuple[bytes, ErrorAnswer | None]:
    """Read a request's body, or return why it cannot be read.

    Also for requests that are refused: a client that is still sending would see a connection reset.
    """
    try:
        return await read_body(request), None
    except ErrorAnswer as refusal:
        return b"", refusal


def _check_texts(request: web.Request) -> None:
    """Reject what is not text: aiohttp decodes bytes that are not UTF-8 to surrogates, which SQLite cannot store."""
    given = [request.headers.get(name, "") for name in ("Idempotency-Key", "Bardge-Lookup-Token")]
    for text in (*given, *request.match_info.values(), *request.query.values()):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise unreadable_error("it is not UTF-8") from None
