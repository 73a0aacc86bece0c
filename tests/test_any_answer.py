"""Whatever a response holds: it ends as a recorded verdict, and as a value or an error of this library."""

from __future__ import annotations

import copy
import pickle
import types
from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest
from multidict import CIMultiDict

from bardge_async import (
    AttemptLimits,
    BardgeClient,
    MemoryJournal,
    Operation,
    OperationStatus,
    RetryPolicy,
    WireRequest,
    WireResponse,
    errors,
)
from bardge_async import models as m
from bardge_async._core import response as wire
from bardge_async._core.custom_endpoints import custom_endpoint
from bardge_async._core.response import Outcome, Verdict
from bardge_async.endpoints import ENDPOINTS, PURCHASE_CREDITS, Endpoint
from bardge_async.models import Page, Resource
from bardge_async.models._base import FromPage
from bardge_async.testing import FakeTransport
from tests.support.answers import ORIGIN, WALL
from tests.support.rig import AT_ONCE, PURCHASE


def split_words(text: str) -> list[str]:
    return text.split()


NUMBERS: Final = split_words(
    "0 -0 1 -1 1.0 1.5 1e2 -1e-2 0.1 99999999999 100000000000 -100000000000 1746700000123.5 253402300799 253402300800"
    " 253402300799999 253402300800000 -62135596801 8.64e15 9223372036854775808 -9223372036854775809 1e308 1e309 -1e400"
    " 1e-400 1e999990 1e20001 1e-999999 1e999999999999999999 0e999999999999999999 0e9999999999999999999"
    " 1e9999999999999999999 1e-9999999999999999999 NaN Infinity -Infinity"
)
LONG_NUMBERS: Final = ["9" * 309, "9" * 5000, "-" + "9" * 5000, "9" * 100_000, "0." + "3" * 5000, "1." + "0" * 5000]
TEXTS: Final = split_words(
    '"" "x" "NaN" "\\ud83d" "\\u0000" "SPA" "monthly" "2026-12-31" "2026-02-30" "9999-12-31" "0000-00-00"'
)
SHAPES: Final = split_words(
    'null true false [] {} [null] [1] [1.5] ["a"] [[]] [{}] [true] {"a":1} {"a":NaN} {"error":{}} {"error":1} '
    '{"data":[],"has_more":true} [{"id":NaN}] {"extra":{}} {"":0} {"self":1,"__class__":2} [[1e400],{"x":[0.1]}]'
)
NESTED: Final = [
    start * depth + inner + end * depth
    for depth in (250, 900, 1_000, 1_100, 10_000)
    for start, inner, end in (("[", "", "]"), ('{"a":', "0.1", "}"), ('[{"a":', "1", "}]"))
]
LARGE: Final = [
    "{" + ",".join(f'"k{number}":{number}' for number in range(100_000)) + "}",
    "[" + ",".join(f'{{"id":{number}.5}}' for number in range(50_000)) + "]",
    '"' + "x" * 1_000_000 + '"',
]
SMALL: Final = [*NUMBERS, *TEXTS, *SHAPES]

CLASSES: Final[list[type[Resource]]] = [
    cls
    for name in m.__all__
    if isinstance(cls := getattr(m, name), type)
    and issubclass(cls, Resource)
    and cls not in (Resource, Page, m.ErrorResponse)
]


def list_fields(cls: type[Any]) -> list[str]:
    return [field.name for field in attrs.fields(cls)] + ["unknown"]


def judge(endpoint: Endpoint[Any, Any], text: str) -> Outcome:
    """Classify a 201 with a body, and check that the outcome can be shown, stored and told."""
    outcome = wire.classify(endpoint, WireResponse(201, CIMultiDict(), text.encode()), WALL, ORIGIN)
    if outcome.verdict is Verdict.DONE:
        assert outcome.error is None
        if isinstance(outcome.value, Resource):
            repr(outcome.value)
    else:
        assert isinstance(outcome.error, errors.DecodeError)
        assert outcome.error.executed
        assert outcome.error.problems
        assert len(str(outcome.error)) < 5_000
        assert copy.deepcopy(outcome.error).problems == outcome.error.problems
    return outcome


def find_unsettled(cls: Any, bodies: list[str]) -> list[str]:
    endpoint = custom_endpoint("POST", "/x", cls, body=True, keyed=False)
    return [body[:80] for body in bodies if not judge(endpoint, body).verdict.settles]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_of_every_model(cls: type[Resource]) -> None:
    """Every field of every response model, replaced by every kind of JSON value, is read or a DecodeError."""
    fields = list_fields(cls)
    assert find_unsettled(cls, [f'{{"{name}":{text}}}' for name in fields for text in SMALL]) == []


@pytest.mark.parametrize("cls", CLASSES)
def test_extremes_in_every_model(cls: type[Resource]) -> None:
    """So are numbers of a hundred thousand digits, and nesting of any depth."""
    fields = list_fields(cls)
    assert find_unsettled(cls, [f'{{"{name}":{text}}}' for name in fields for text in NESTED]) == []
    assert (
        find_unsettled(cls, ["{" + ",".join(f'"{name}":{text}' for name in fields) + "}" for text in LONG_NUMBERS])
        == []
    )


@pytest.mark.parametrize("cls", [m.ClientCredits, m.Provider])
@pytest.mark.parametrize("text", LARGE, ids=["keys", "list", "text"])
def test_large_values(cls: type[Resource], text: str) -> None:
    """So are a hundred thousand keys, in a field and beside the fields, in an item and as the body."""
    bodies = [f'{{"{name}":{text}}}' for name in [*list_fields(cls)[1:9:3], "unknown"]]
    assert find_unsettled(cls, [*bodies, text]) == []
    assert find_unsettled(types.GenericAlias(Page, (cls,)), [f'{{"data":[{bodies[-1]}],"has_more":{text}}}']) == []


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
def test_every_endpoint(endpoint: Endpoint[Any, Any]) -> None:
    """Every endpoint's own result, its lists and their items included, is read or a DecodeError."""
    bodies = [*SMALL, *LONG_NUMBERS, *NESTED]
    bodies += [f'{{"data":{text},"has_more":false}}' for text in bodies]
    bodies += [f'{{"data":[{text},{{"id":{text}}}],"has_more":{text}}}' for text in SMALL]
    for body in bodies:
        outcome = wire.classify(endpoint, WireResponse(200, CIMultiDict(), body.encode()), WALL, ORIGIN)
        # Only an error object with some content is no success.
        assert outcome.verdict.settles or '"error":{"' in body
        assert outcome.error is None or isinstance(outcome.error, errors.DecodeError)


@pytest.mark.parametrize("kind", [object, dict, dict[str, Any], list[int], tuple[dict[str, float], ...], int, Any])
def test_plain_classes(kind: Any) -> None:
    """So is the result of ``client.request`` in plain JSON, or as a class of the language."""
    assert (
        find_unsettled(kind, [text for text in [*SMALL, *LONG_NUMBERS, *NESTED] if not text.startswith('{"error":{"')])
        == []
    )


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("name", ["type", "code", "message", "request_id", "more"])
def test_every_field_of_an_error(name: str, status: int) -> None:
    """Every field of an error object, replaced by every kind of JSON value, is an error of this library."""
    for text in [*SMALL, *LONG_NUMBERS, *NESTED]:
        body = f'{{"error":{{"type":"api_error","{name}":{text}}}}}'.encode()
        outcome = wire.classify(PURCHASE_CREDITS, WireResponse(status, CIMultiDict(), body), WALL, ORIGIN)
        assert isinstance(outcome.error, errors.BardgeError)
        pickle.dumps(outcome.error)


@attrs.frozen
class Fussy:
    """A user's own class, which some values cannot build."""

    balance: int

    def __attrs_post_init__(self) -> None:
        if self.balance > 5:
            raise KeyError(self)

    def __repr__(self) -> str:
        raise ZeroDivisionError


@attrs.frozen(kw_only=True)
class Picky(Resource):
    """The same, over the library's base class."""

    balance: FromPage[int] = None

    def __attrs_post_init__(self) -> None:
        if self.balance != 5:
            raise RecursionError


@pytest.mark.parametrize("cls", [Fussy, Picky, list[Fussy], dict[str, Picky], Page[Picky]])
async def test_class_that_cannot_be_built(cls: Any) -> None:
    """A class that refuses the value ends in DecodeError: done, and on record as done."""
    body = b'{"data":[{"balance":6}],"has_more":false,"balance":6}'
    if cls == list[Fussy]:
        body = b'[{"balance":6}]'
    fake = FakeTransport(WireResponse(201, CIMultiDict(), body))
    async with BardgeClient("key", transport=fake) as bardge:
        for _ in range(2):
            with pytest.raises(errors.DecodeError) as caught:
                await bardge.request("POST", "/x", request={}, response=cls, key="k")
            assert (caught.value.executed, await bardge.in_doubt(), len(fake.requests)) == (True, [], 1)


class Unknown:
    """A class that cattrs does not know, as of another library."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


@attrs.frozen
class Holder:
    """A class with a field of an unknown class."""

    balance: Unknown


class Lost(Resource):
    """A class whose annotation names nothing."""

    __annotations__ = {"id": "FromPage[Nowhere]"}


@pytest.mark.parametrize(
    "kind",
    [
        *(Unknown, Holder, Lost, "Passcode", "int", {"a": 1}, {}, [int], object(), 5, list[Unknown]),
        *(dict[str, Unknown], tuple[Unknown, ...], list["Unknown"], Unknown | None, Page[Unknown], len),
    ],
)
async def test_class_is_resolved_first(kind: Any) -> None:
    """A class that no JSON can become is rejected before anything is sent, also as an endpoint of the caller's own."""
    fake = FakeTransport(WireResponse(201, CIMultiDict(), b"{}"))
    async with BardgeClient("key", transport=fake) as bardge:
        with pytest.raises(errors.InvalidArgumentError, match=r"^response: expected a class"):
            await bardge.request("POST", "/x", request={}, response=kind)
        own = attrs.evolve(PURCHASE_CREDITS, name="own", response=kind)
        with pytest.raises(errors.InvalidArgumentError, match=r"^response: expected a class"):
            await bardge.send(own, request=PURCHASE)
    assert fake.requests == []


@attrs.frozen
class Answering:
    """A transport that answers each request by a function."""

    answer: Callable[[WireRequest], WireResponse]

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        return self.answer(request)

    async def aclose(self) -> None:
        """Do nothing."""


ODD: Final = [
    '{"balance":25,"fx":0e9999999999999999999}',
    '{"balance":NaN}',
    '{"balance":"\\ud83d","x":1e9999999999999999999}',
    '{"balance":' + "9" * 100_000 + "}",
    '{"x":' + "[" * 10_000 + "]" * 10_000 + "}",
    '{"x":' + "[" * 1_000 + "]" * 1_000 + "}",
    LARGE[0],
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_one_bad_item_stops_no_batch(odd: str) -> None:
    """One odd response among a hundred is that operation's outcome, done; the others are done as well."""

    def answer(request: WireRequest) -> WireResponse:
        is_odd = request.body is not None and b'"c7"' in request.body
        return WireResponse(201, CIMultiDict(), odd.encode() if is_odd else b'{"balance":25}')

    async with BardgeClient("key", transport=Answering(answer)) as bardge:
        operations = [
            Operation(PURCHASE_CREDITS, request=m.PurchaseCredits(client_id=f"c{n}", package_id="p"), id=f"r{n}")
            for n in range(100)
        ]
        found = [outcome.status async for outcome in bardge.batch(operations, job="j", concurrency=4)]
        assert (found, await bardge.in_doubt()) == ([OperationStatus.DONE] * 100, [])


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_one_bad_item_stops_no_recovery(odd: str) -> None:
    """An odd response to one of several doubts settles it, and the others, too."""
    journal, script = MemoryJournal(), [errors.NoAnswerError("cut")] * 3
    once = RetryPolicy(max_attempts=1)

    def answer(request: WireRequest) -> WireResponse:
        if script:
            raise script.pop()
        return WireResponse(201, CIMultiDict(), odd.encode() if request.headers["Idempotency-Key"] == "k1" else b"{}")

    async with BardgeClient("key", transport=Answering(answer), journal=journal, retry=once) as bardge:
        for key in ("k0", "k1", "k2"):
            with pytest.raises(errors.OutcomeUnknownError):
                await bardge.send(PURCHASE_CREDITS, request=PURCHASE, key=key)
        again = bardge.with_options(retry=AT_ONCE)
        assert {one.idempotency_key for one in await again.recover()} == {"k0", "k1", "k2"}
        assert (await again.recover(), await again.in_doubt()) == ([], [])
