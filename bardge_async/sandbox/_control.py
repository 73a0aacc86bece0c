"""Control the sandbox over HTTP, below ``/_sandbox/``, from other processes and languages.

GET reads, POST changes with a JSON object; both return the resulting state:

* ``/_sandbox/``: base URL, API keys and controls; ``/_sandbox/reset`` takes ``{}``
* ``/_sandbox/clock`` takes ``{"advance": 91}``
* ``/_sandbox/faults`` takes ``{"clear": true, "script": [{"kind": "cut_after"}], "random": {"rate": 0.1, "seed": 7}}``
* ``/_sandbox/requests`` and ``/_sandbox/idempotency`` take ``{"clear": true}``
* ``/_sandbox/drift``: where the answers differ from the table
* ``/_sandbox/check-ins`` takes ``{"client_id": ..., "provider_id": ...}`` and returns the visit
* ``/_sandbox/ledger?client_id=...``: a client's credits; without it the reseller's account; ``reseller=...`` names one
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

import attrs
import orjson
from aiohttp import web

from bardge_async.errors import ConfigurationError, InvalidArgumentError
from bardge_async.sandbox._check_in import CheckIn
from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._drift import Drift
from bardge_async.sandbox._errors import ErrorAnswer
from bardge_async.sandbox._fault_plan import DEFAULT_RANDOM_FAULTS, FaultPlan
from bardge_async.sandbox._faults import fault_from_json, fault_to_json
from bardge_async.sandbox._idempotency import KeptAnswer
from bardge_async.sandbox._ledger import LedgerEntry
from bardge_async.sandbox._origin_check import ControlError, check_control_request
from bardge_async.sandbox._protocol import read_body
from bardge_async.sandbox._request_log import RecordedRequest

JSON: TypeAlias = dict[str, Any]
ReadState: TypeAlias = Callable[["ControlledSandbox", Mapping[str, str]], JSON]
ChangeState: TypeAlias = Callable[["ControlledSandbox", JSON], object]


class ControlledSandbox(Protocol):
    """The part of the sandbox that can be controlled; a protocol, since importing ``Sandbox`` would be a cycle."""

    clock: SandboxClock
    faults: FaultPlan

    @property
    def base_url(self) -> str:
        """Base URL of the API."""
        ...

    @property
    def api_keys(self) -> Mapping[str, str]:
        """API keys by reseller name."""
        ...

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The request log."""
        ...

    @property
    def kept_answers(self) -> tuple[KeptAnswer, ...]:
        """The idempotency store."""
        ...

    @property
    def drift(self) -> tuple[Drift, ...]:
        """Where the answers differ from the table."""
        ...

    def ledger(self, client_id: str, *, reseller: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return a client's credit movements."""
        ...

    def account(self, reseller: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return the movements of a reseller's account."""
        ...

    def check_in(self, client_id: str, provider_id: str, *, reseller: str | None = None) -> CheckIn:
        """Log a client's visit at a gym."""
        ...

    def forget_requests(self) -> None:
        """Empty the request log."""

    def forget_keys(self) -> None:
        """Empty the idempotency store."""

    def reset(self) -> None:
        """Restore the initial data."""


class Control:
    """Answer requests below ``/_sandbox``; ``bound_host`` is the name or address that the server was bound to."""

    def __init__(self, sandbox: ControlledSandbox, bound_host: str) -> None:
        self._sandbox = sandbox
        self._bound_host = bound_host

    async def answer_request(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            check_control_request(request, self._bound_host)
            return _json_response(200, await self._read_or_change(request))
        except ControlError as error:
            return _json_response(error.status, {"error": {"message": str(error)}})
        except InvalidArgumentError as error:
            return _json_response(400, {"error": {"message": str(error)}})
        except ConfigurationError as error:
            return _json_response(500, {"error": {"message": str(error)}})

    async def _read_or_change(self, request: web.Request) -> JSON:
        read, changes = _find_route(request.match_info["tail"])
        made: object = None
        if request.method == "POST" and changes:
            values = _read_object(await _read_body(request), changes)
            for name, change in changes.items():
                if name in values or not name:
                    made = change(self._sandbox, values) or made
        elif request.method != "GET" or read is None:
            raise ControlError(405, f"{request.method} is not allowed here; GET reads, POST changes")
        return read(self._sandbox, request.query) if read else cast("JSON", made or {})


async def _read_body(request: web.Request) -> bytes:
    try:
        return await read_body(request)
    except ErrorAnswer as refusal:
        raise ControlError(refusal.status, refusal.message) from None


def _read_object(body: bytes, changes: Mapping[str, ChangeState]) -> JSON:
    try:
        values: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise ControlError(400, "expected a JSON object")
    fields = cast("JSON", values)
    unknown_fields = sorted(fields.keys() - changes.keys())
    if unknown_fields:
        raise ControlError(400, f"unknown fields: {', '.join(unknown_fields)}")
    if not fields and "" not in changes:
        raise ControlError(400, f"expected at least one of: {', '.join(changes)}")
    return fields


def _json_response(status: int, body: JSON) -> web.Response:
    # Responses contain API keys: they must not be cached.
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=headers)


def _read_overview(sandbox: ControlledSandbox, _: Mapping[str, str]) -> JSON:
    return {"base_url": sandbox.base_url, "api_keys": dict(sandbox.api_keys), "controls": sorted(_ROUTES)}


def _read_clock(sandbox: ControlledSandbox, _: Mapping[str, str]) -> JSON:
    return {"now": sandbox.clock.now().isoformat(), "wall": sandbox.clock.wall()}


def _advance_clock(sandbox: ControlledSandbox, values: JSON) -> None:
    sandbox.clock.advance(_check_number(values["advance"], "advance"))


def _check_in(sandbox: ControlledSandbox, values: JSON) -> JSON:
    names = [_check_text(values.get(name), name) for name in ("client_id", "provider_id")]
    reseller = values.get("reseller")
    visit = sandbox.check_in(*names, reseller=None if reseller is None else _check_text(reseller, "reseller"))
    return {**attrs.asdict(visit), "credits": str(visit.credits)}


def _read_drift(sandbox: ControlledSandbox, _: Mapping[str, str]) -> JSON:
    return {"drift": [attrs.asdict(drift) for drift in sandbox.drift]}


def _read_faults(sandbox: ControlledSandbox, _: Mapping[str, str]) -> JSON:
    random_faults = sandbox.faults.random_faults
    random_json = random_faults and {
        "rate": random_faults.rate,
        "seed": random_faults.seed,
        "faults": [fault_to_json(fault) for fault in random_faults.faults],
    }
    return {"pending": [fault_to_json(fault) for fault in sandbox.faults.pending], "random": random_json}


def _script_faults(sandbox: ControlledSandbox, values: JSON) -> None:
    sandbox.faults.script([fault_from_json(item) for item in _check_list(values["script"], "script")])


def _set_random_faults(sandbox: ControlledSandbox, values: JSON) -> None:
    wanted: object = values["random"]
    if not isinstance(wanted, dict) or not {"rate", "seed"} <= wanted.keys() <= {"rate", "seed", "faults", "endpoint"}:
        raise InvalidArgumentError("random: expected an object with rate and seed, optionally with faults and endpoint")
    options = cast("JSON", wanted)
    seed = options["seed"]
    # bool is a subclass of int.
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidArgumentError(f"random.seed: expected a whole number, got {seed!r:.80}")
    faults = (
        [fault_from_json(item) for item in _check_list(options["faults"], "random.faults")]
        if "faults" in options
        else DEFAULT_RANDOM_FAULTS
    )
    sandbox.faults.random(_check_number(options["rate"], "random.rate"), seed, faults, endpoint=options.get("endpoint"))


def _read_requests(sandbox: ControlledSandbox, _: Mapping[str, str]) -> JSON:
    return {"requests": [_request_json(seen) for seen in sandbox.requests]}


def _request_json(request: RecordedRequest) -> JSON:
    headers = {str(name): _replace_surrogates(value) for name, value in request.headers.items()}
    return {
        "method": request.method,
        "path": _replace_surrogates(request.path),
        "query": _replace_surrogates(request.query),
        "headers": headers,
        "body": request.body.decode(errors="replace"),
        "status": request.status,
        "idempotency_key": request.idempotency_key and _replace_surrogates(request.idempotency_key),
        "endpoint": request.endpoint,
        "replayed": request.replayed,
        "fault": request.fault,
    }


def _replace_surrogates(text: str) -> str:
    """Return text that JSON can hold: aiohttp decodes bytes that are not UTF-8 to surrogates."""
    return text.encode(errors="replace").decode()


def _read_idempotency(sandbox: ControlledSandbox, _: Mapping[str, str]) -> JSON:
    return {"kept": [_answer_to_json(answer) for answer in sandbox.kept_answers]}


def _answer_to_json(answer: KeptAnswer) -> JSON:
    texts = {"body": answer.body.decode(errors="replace"), "answer": answer.answer.decode(errors="replace")}
    return {**attrs.asdict(answer), **texts, "key": _replace_surrogates(answer.key)}


def _read_ledger(sandbox: ControlledSandbox, query: Mapping[str, str]) -> JSON:
    unknown = sorted(query.keys() - {"client_id", "reseller"})
    if unknown:
        raise InvalidArgumentError(f"unknown parameters: {', '.join(unknown)}")
    client, reseller = query.get("client_id"), query.get("reseller")
    entries = sandbox.account(reseller) if client is None else sandbox.ledger(client, reseller=reseller)
    return {"entries": [{**attrs.asdict(entry), "amount": str(entry.amount)} for entry in entries]}


def _ignore(_: ControlledSandbox, __: JSON) -> None:
    """Do nothing for a field that the route's change reads itself."""


def _check_number(value: object, name: str) -> float:
    # bool is a subclass of int.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(f"{name}: expected a number, got {value!r:.80}")
    return value


def _check_text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name}: expected text, got {value!r:.80}")
    return value


def _check_list(value: object, name: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise InvalidArgumentError(f"{name}: expected a list, got {value!r:.80}")
    return cast("list[object]", value)


def _clear_command(clear: Callable[[ControlledSandbox], object]) -> ChangeState:
    def clear_if_true(sandbox: ControlledSandbox, values: JSON) -> None:
        if values["clear"] is not True:
            raise InvalidArgumentError("clear: expected true")
        clear(sandbox)

    return clear_if_true


# Name: what a GET returns; the fields that a POST takes, in the order they are applied; "" applies without a field.
_ROUTES: Final[Mapping[str, tuple[ReadState | None, Mapping[str, ChangeState]]]] = {
    "": (_read_overview, {}),
    "check-ins": (None, {"": _check_in, "client_id": _ignore, "provider_id": _ignore, "reseller": _ignore}),
    "clock": (_read_clock, {"advance": _advance_clock}),
    "drift": (_read_drift, {}),
    "faults": (
        _read_faults,
        {
            "clear": _clear_command(lambda sandbox: sandbox.faults.clear()),
            "script": _script_faults,
            "random": _set_random_faults,
        },
    ),
    "idempotency": (_read_idempotency, {"clear": _clear_command(lambda sandbox: sandbox.forget_keys())}),
    "ledger": (_read_ledger, {}),
    "requests": (_read_requests, {"clear": _clear_command(lambda sandbox: sandbox.forget_requests())}),
    "reset": (None, {"": lambda sandbox, _: sandbox.reset()}),
}


def _find_route(tail: str) -> tuple[ReadState | None, Mapping[str, ChangeState]]:
    found = _ROUTES.get(tail.strip("/"))
    if found is None:
        raise ControlError(404, f"unknown control; expected one of: {', '.join(filter(None, _ROUTES))}")
    return found
