"""The sandbox's controls over HTTP, below ``/_sandbox/``, for other processes and languages.

GET reads, POST changes with a JSON object; both answer with the state as it is then:

* ``/_sandbox/`` where it serves and with which keys; ``/_sandbox/reset`` takes ``{}``
* ``/_sandbox/clock`` takes ``{"advance": 91}``
* ``/_sandbox/faults`` takes ``{"clear": true, "script": [{"kind": "cut_after"}], "random": {"rate": 0.1, "seed": 7}}``
* ``/_sandbox/requests`` and ``/_sandbox/idempotency`` take ``{"clear": true}``
* ``/_sandbox/ledger?client_id=...`` a client's credits; without it the reseller's account; ``reseller=...`` another's
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

import attrs
import orjson
from aiohttp import web

from bardge_async.errors import InvalidArgumentError
from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._fault_plan import LIKELY, Faults
from bardge_async.sandbox._faults import fault_from, fault_to
from bardge_async.sandbox._idempotency import KeptAnswer
from bardge_async.sandbox._ledger import LedgerEntry
from bardge_async.sandbox._origin_check import ControlError, check
from bardge_async.sandbox._request_log import RecordedRequest

JSON: TypeAlias = dict[str, Any]
Read: TypeAlias = Callable[["Controlled", Mapping[str, str]], JSON]
Change: TypeAlias = Callable[["Controlled", JSON], object]


class Controlled(Protocol):
    """What is controlled: the sandbox, as it is in process."""

    clock: SandboxClock
    faults: Faults

    @property
    def base_url(self) -> str:
        """Where it serves."""
        ...

    @property
    def api_keys(self) -> Mapping[str, str]:
        """Keys by the resellers' names."""
        ...

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The request log."""
        ...

    @property
    def kept_answers(self) -> tuple[KeptAnswer, ...]:
        """The idempotency store."""
        ...

    def ledger(self, client_id: str, *, reseller: str | None = None) -> tuple[LedgerEntry, ...]:
        """Read a client's credit movements."""
        ...

    def account(self, reseller: str | None = None) -> tuple[LedgerEntry, ...]:
        """Read the movements of a reseller's account."""
        ...

    def forget_requests(self) -> None:
        """Empty the request log."""

    def forget_keys(self) -> None:
        """Empty the idempotency store."""

    def reset(self) -> None:
        """Go back to the first data."""


class Control:
    """Answer what comes in below ``/_sandbox``; ``bound`` is the name or address that the server was bound to."""

    def __init__(self, sandbox: Controlled, bound: str) -> None:
        self._sandbox = sandbox
        self._bound = bound

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            check(request, self._bound)
            return _answer(200, await self._act(request))
        except ControlError as error:
            return _answer(error.status, {"error": {"message": str(error)}})
        except InvalidArgumentError as error:
            return _answer(400, {"error": {"message": str(error)}})

    async def _act(self, request: web.Request) -> JSON:
        read, changes = _route(request.match_info["tail"])
        if request.method == "POST" and changes:
            values = _object(await request.read(), changes)
            for name, change in changes.items():
                if name in values or not name:
                    change(self._sandbox, values)
        elif request.method != "GET" or read is None:
            raise ControlError(405, f"{request.method}: not here")
        return read(self._sandbox, request.query) if read else {}


def _object(body: bytes, changes: Mapping[str, Change]) -> JSON:
    try:
        values: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise ControlError(400, "expected a JSON object")
    known = cast("JSON", values)
    unknown = sorted(known.keys() - changes.keys())
    if unknown:
        raise ControlError(400, f"unknown fields: {', '.join(unknown)}")
    if not known and "" not in changes:
        raise ControlError(400, f"expected at least one of: {', '.join(changes)}")
    return known


def _answer(status: int, body: JSON) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=headers)


def _overview(sandbox: Controlled, _: Mapping[str, str]) -> JSON:
    return {"base_url": sandbox.base_url, "api_keys": dict(sandbox.api_keys), "controls": sorted(_ROUTES)}


def _clock(sandbox: Controlled, _: Mapping[str, str]) -> JSON:
    return {"now": sandbox.clock.now().isoformat(), "wall": sandbox.clock.wall()}


def _advance(sandbox: Controlled, values: JSON) -> None:
    sandbox.clock.advance(_number(values["advance"], "advance"))


def _faults(sandbox: Controlled, _: Mapping[str, str]) -> JSON:
    dice = sandbox.faults.dice
    thrown = dice and {"rate": dice.rate, "seed": dice.seed, "faults": [fault_to(fault) for fault in dice.faults]}
    return {"pending": [fault_to(fault) for fault in sandbox.faults.pending], "random": thrown}


def _script(sandbox: Controlled, values: JSON) -> None:
    sandbox.faults.script([fault_from(item) for item in _list(values["script"], "script")])


def _random(sandbox: Controlled, values: JSON) -> None:
    wanted: object = values["random"]
    if not isinstance(wanted, dict) or not {"rate", "seed"} <= wanted.keys() <= {"rate", "seed", "faults", "endpoint"}:
        raise InvalidArgumentError("random: expected an object with rate and seed, and faults and endpoint if wanted")
    dice = cast("JSON", wanted)
    seed = dice["seed"]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidArgumentError(f"random.seed: expected a whole number, got {seed!r:.80}")
    faults = [fault_from(item) for item in _list(dice["faults"], "random.faults")] if "faults" in dice else LIKELY
    sandbox.faults.random(_number(dice["rate"], "random.rate"), seed, faults, endpoint=dice.get("endpoint"))


def _requests(sandbox: Controlled, _: Mapping[str, str]) -> JSON:
    return {"requests": [_request(seen) for seen in sandbox.requests]}


def _request(seen: RecordedRequest) -> JSON:
    headers = {str(name): _plain(value) for name, value in seen.headers.items()}
    return {
        "method": seen.method,
        "path": _plain(seen.path),
        "query": _plain(seen.query),
        "headers": headers,
        "body": seen.body.decode(errors="replace"),
        "status": seen.status,
        "idempotency_key": seen.idempotency_key and _plain(seen.idempotency_key),
        "endpoint": seen.endpoint,
        "replayed": seen.replayed,
        "fault": seen.fault,
    }


def _plain(text: str) -> str:
    """Make text that JSON can hold of what a request may hold: bytes that are no UTF-8 are surrogates in it."""
    return text.encode(errors="replace").decode()


def _idempotency(sandbox: Controlled, _: Mapping[str, str]) -> JSON:
    return {"kept": [_kept(answer) for answer in sandbox.kept_answers]}


def _kept(answer: KeptAnswer) -> JSON:
    texts = {"body": answer.body.decode(errors="replace"), "answer": answer.answer.decode(errors="replace")}
    return {**attrs.asdict(answer), **texts, "key": _plain(answer.key)}


def _ledger(sandbox: Controlled, query: Mapping[str, str]) -> JSON:
    unknown = sorted(query.keys() - {"client_id", "reseller"})
    if unknown:
        raise InvalidArgumentError(f"unknown parameters: {', '.join(unknown)}")
    client, reseller = query.get("client_id"), query.get("reseller")
    entries = sandbox.account(reseller) if client is None else sandbox.ledger(client, reseller=reseller)
    return {"entries": [{**attrs.asdict(entry), "amount": str(entry.amount)} for entry in entries]}


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(f"{name}: expected a number, got {value!r:.80}")
    return value


def _list(value: object, name: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise InvalidArgumentError(f"{name}: expected a list, got {value!r:.80}")
    return cast("list[object]", value)


def _clearing(clear: Callable[[Controlled], object]) -> Change:
    def change(sandbox: Controlled, values: JSON) -> None:
        if values["clear"] is not True:
            raise InvalidArgumentError("clear: expected true")
        clear(sandbox)

    return change


# Name: what a GET answers; the fields that a POST takes, in the order in which they work; "" works without a field.
_ROUTES: Final[Mapping[str, tuple[Read | None, Mapping[str, Change]]]] = {
    "": (_overview, {}),
    "clock": (_clock, {"advance": _advance}),
    "faults": (
        _faults,
        {"clear": _clearing(lambda sandbox: sandbox.faults.clear()), "script": _script, "random": _random},
    ),
    "idempotency": (_idempotency, {"clear": _clearing(lambda sandbox: sandbox.forget_keys())}),
    "ledger": (_ledger, {}),
    "requests": (_requests, {"clear": _clearing(lambda sandbox: sandbox.forget_requests())}),
    "reset": (None, {"": lambda sandbox, _: sandbox.reset()}),
}


def _route(tail: str) -> tuple[Read | None, Mapping[str, Change]]:
    found = _ROUTES.get(tail.strip("/"))
    if found is None:
        raise ControlError(404, f"no such control; there are: {', '.join(filter(None, _ROUTES))}")
    return found
