"""The HTTP server: routes from the endpoint table, bearer auth, request ids, faults, one transaction per POST."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs
import orjson
from aiohttp import web

from bardge_async.endpoints import ENDPOINTS, Endpoint, RepeatEffect
from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._drift import DriftPlan, plan_drifts
from bardge_async.sandbox._errors import (
    INVALID_REQUEST,
    VALIDATION_CODE,
    ErrorAnswer,
    account_disabled_error,
    internal_error,
    no_endpoint_error,
    wrong_api_key_error,
)
from bardge_async.sandbox._fault_plan import FaultPlan
from bardge_async.sandbox._faults import Fault, FaultKind
from bardge_async.sandbox._idempotency import IdempotencyStore, SandboxResponse
from bardge_async.sandbox._request import Reseller, SandboxRequest, read_reseller
from bardge_async.sandbox._request_log import new_request_log, record_request
from bardge_async.sandbox._responses import OutgoingResponse, apply_fault, error_response, send_response
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
        name = endpoint.name if endpoint else None
        fault = self._faults.take_fault(name, self._clock.wall())
        await self._apply_latency(fault, after=False)
        if fault and fault.replaces_work:
            # Read the request before responding: a client that is still sending would see a connection reset.
            body = b"" if fault.kind is FaultKind.CUT_BEFORE else await self._read_body(request)
            response = SandboxResponse(0, b"", _new_request_id())
        else:
            body, response = await self._answer_request(endpoint, request)
        await self._apply_latency(fault, after=True)
        outgoing = apply_fault(response, fault)
        self._log_request(request, body, name, outgoing)
        return await send_response(request, outgoing, self._clock)

    async def _apply_latency(self, fault: Fault | None, *, after: bool) -> None:
        if fault and fault.kind is FaultKind.LATENCY and fault.after is after:
            await self._clock.sleep(fault.seconds or 0)

    async def _read_body(self, request: web.Request) -> bytes:
        try:
            return await request.read()
        except web.HTTPException:
            # Too large a body; the fault replaces the response anyway.
            return b""

    def _log_request(self, request: web.Request, body: bytes, name: str | None, outgoing: OutgoingResponse) -> None:
        response, fault = outgoing.response, outgoing.fault
        status, replayed = (response.status, response.replayed) if response else (None, False)
        kind = fault.kind if fault else None
        self.requests.append(record_request(request, body, name, status=status, replayed=replayed, fault=kind))

    async def _answer_request(
        self, endpoint: AnyEndpoint | None, request: web.Request
    ) -> tuple[bytes, SandboxResponse]:
        request_id = _new_request_id()
        body = b""
        try:
            # Read first, so that the log shows the bodies of rejected requests, too.
            body = await request.read()
            reseller = self._find_authorized_reseller(request)
            if endpoint is None:
                raise no_endpoint_error(request.method, request.path)
            return body, await self._execute_or_replay(
                self._build_request(endpoint, reseller, request, body), request_id
            )
        except ErrorAnswer as refusal:
            return body, error_response(refusal, request_id)
        except web.HTTPException as error:
            return body, error_response(
                ErrorAnswer(error.status, INVALID_REQUEST, VALIDATION_CODE, error.reason), request_id
            )

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

    def _find_authorized_reseller(self, request: web.Request) -> Reseller:
        scheme, _, api_key = request.headers.get("Authorization", "").partition(" ")
        # The scheme is case-insensitive (RFC 9110, section 11.1).
        reseller = self.resellers.get(api_key.strip()) if scheme.lower() == "bearer" else None
        if reseller is None:
            raise wrong_api_key_error()
        if not reseller.enabled:
            raise account_disabled_error()
        return reseller

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
    except Exception:  # noqa: BLE001 - an HTTP server answers 500 and keeps running
        _log.exception("The behaviour of %s failed", request.endpoint.name)
        return error_response(internal_error(), request_id)
    # The page says "200 or 201": the sandbox's choice is 201 where a second execution creates a duplicate.
    status = 201 if request.endpoint.repeat_effect is RepeatEffect.DUPLICATES else 200
    return SandboxResponse(status, orjson.dumps(body), request_id)


def _new_request_id() -> str:
    return f"req_{secrets.token_hex(16)}"
