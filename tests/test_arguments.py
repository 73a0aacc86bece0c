"""Every argument of every public constructor and method, with values of wrong types: one error that names it."""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import math
import re
import typing
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import procrastinate
import pytest

import bardge_async
from bardge_async import (
    AccessCodeRequest,
    BardgeClient,
    BardgeError,
    ConfigurationError,
    IdempotentClient,
    InvalidArgumentError,
    MemoryJournal,
    Operation,
    PostgresJournal,
    PostgresLimiter,
    PurchaseCredits,
    ReplayWindow,
    RetryPolicy,
    SQLiteJournal,
    Timeouts,
    Walk,
    endpoints,
    errors,
    models,
)
from bardge_async import sandbox as sandboxes
from bardge_async.integrations import procrastinate as queues
from bardge_async.integrations.procrastinate import BardgeQueue

DSN = "postgresql://user@127.0.0.1:1/database"
BUY = PurchaseCredits(client_id="c", package_id="p")
APP = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DSN))
CANDIDATES: Final[dict[str, object]] = {
    "None": None,
    "text": "\udcff",
    "bytes": b"4",
    "True": True,
    "whole": 4,
    "fraction": 1.5,
    "negative": -1,
    "nan": math.nan,
    "list": [None],
    "object": object(),
}
# What an annotation allows of these.
ALLOWED: Final = {
    "str": {"text"},
    "int": {"whole", "negative"},
    "float": {"whole", "fraction", "negative"},
    "bool": {"True"},
    "None": {"None"},
    "object": set(CANDIDATES),
}


@asynccontextmanager
async def open_no_client() -> AsyncGenerator[BardgeClient]:
    """Stand in for what makes a worker's client; nothing gets as far as calling it."""
    yield BardgeClient("k")


# Constructors, with what they need.
CONSTRUCTORS: Final[dict[Callable[..., object], dict[str, object]]] = {
    BardgeClient: {"api_key": "k", "base_url": "http://127.0.0.1:1"},
    Timeouts: {},
    RetryPolicy: {},
    ReplayWindow: {},
    MemoryJournal: {},
    SQLiteJournal: {"path": "never-made/journal.db"},
    PostgresJournal: {"dsn": DSN},
    PostgresLimiter: {"dsn": DSN, "name": "rate", "per_second": 5},
    Operation: {"endpoint": "credits.purchase", "request": BUY, "id": "1"},
    BardgeQueue: {"app": APP, "client": open_no_client, "queue": "arguments"},
    sandboxes.Sandbox: {},
    sandboxes.SandboxClock: {},
    sandboxes.FaultPlan: {},
}
# Values for what a method needs, by the name of the argument.
VALID: Final[dict[str, object]] = {
    **dict.fromkeys(("booking_id", "class_id", "key", "lookup_id", "pass_id", "session_id"), "id"),
    **dict.fromkeys(("provider_branch_id", "provider_id", "issuer_id", "job", "namespace", "kind"), "id"),
    "business_id": "1",
    "client_id": "client_abc123",
    "cursor": "text",
    "endpoint": "clients.get",
    "faults": [],
    "method": "GET",
    "now": 0.0,
    "operation": Operation("credits.purchase", request=BUY, id="1"),
    "operations": [],
    "rate": 0.5,
    "seconds": 1,
    "seed": 1,
}
FIELDS: Final[dict[str, object]] = {
    "expiry_date": dt.date(2026, 12, 31),
    "service_ids": ["id"],
    "date": dt.date(2026, 12, 31),
}
# What the client calls with values that it has checked: the hot path, which checks nothing again.
CALLED_BY_THE_CLIENT: Final = frozenset(
    [
        "acquire",
        "claim",
        "hold",
        "hold_fresh",
        "hold_generated",
        "hold_if_new",
        "overtaken",
        "put",
        "put_later",
        "put_finished",
        "put_unfinished",
        "record_reading",
        "release",
        "remove",
        "since",
        "sleep",
        "take_fault",
        "timer",
        "unfinished",
    ]
)
# These make a client or a batch, with its settings.
LIKE_CONSTRUCTORS: Final = frozenset({"BardgeClient.batch", "BardgeClient.with_options"})
MAY_BE_NEGATIVE: Final = frozenset({"drift", "lat", "lon", "now", "seed"})
# What an annotation does not say: any value is taken, or one that looks wrong is right.
ALSO_ALLOWED: Final[dict[str, set[str]]] = {
    "BardgeClient.batch operations": {"list"},  # its items are checked as they are taken
    "BardgeQueue.defer_many operations": {"list"},
    "BardgeClient.resolve done": {"None", "True"},
    "BardgeClient.with_options timeout": {"None"},  # the defaults again
    "BardgeClient.with_options paths": {"None"},  # the same
    "BardgeClient.with_options keyed": {"None"},
}
GENERATE: Final[dict[str, object]] = {
    "endpoint": "access_codes.generate",
    "request": AccessCodeRequest(client_id="c", provider_id="p"),
}
NEEDED: Final[dict[str, dict[str, object]]] = {
    "BardgeClient.resolve": {"key": "id", "done": True},
    "BardgeClient.send": GENERATE,
    "IdempotentClient.send": GENERATE,
}


# Values and protocols: what the library makes, or only calls.
MADE_BY_THE_LIBRARY: Final = """
AttemptEnded AttemptLimits AttemptStarted Batch CheckIn Clock ClockReading Doubt DoubtOpened DoubtResolved DoubtVerdict Drift
DriftFound DriftKind EntryState Event FaultKind Finding IdempotentClient JobDoubt Journal JournalEntry KeptAnswer KeyIdentity LedgerEntry Limiter
OperationOutcome OperationStatus Pace Progress RecordedRequest RecordedResponse Recovered Response RetryScheduled
SystemClock Throttled Timer Transport Walk WireRequest WireResponse WorkerEvent
"""
RESOURCES: Final = [
    "access_codes",
    "bookings",
    "classes",
    "clients",
    "copay",
    "credits",
    "lookups",
    "passes",
    "providers",
]


def make_client() -> BardgeClient:
    """Make a client whose server is not there."""
    return BardgeClient("k", "http://127.0.0.1:1")


def make_walk() -> Walk[Any]:
    """Make a walk of that client."""
    return make_client().passes.list()


def make_operation(endpoint: str) -> Operation[Any, Any]:
    """Make an operation of an endpoint."""
    return Operation(endpoint, id="1")


def get_resource(name: str) -> object:
    """Return one of that client's resources."""
    return getattr(make_client(), name)


@attrs.frozen(repr=False)
class Callee:
    """A constructor or method, and arguments that it takes."""

    name: str
    call: Callable[..., object]
    given: dict[str, object]
    error: type[BardgeError]

    def __repr__(self) -> str:
        return self.name

    def list_arguments(self) -> Iterator[inspect.Parameter]:
        """Find the arguments by the signature."""
        yield from inspect.signature(self.call).parameters.values()

    def list_wrong_values(self, argument: inspect.Parameter) -> Iterator[tuple[str, object]]:
        """Find the candidates that an argument must reject, by its annotation."""
        allowed = set(ALSO_ALLOWED.get(f"{self.name} {argument.name}", ()))
        for part in re.split(r"\s*\|\s*", str(argument.annotation)):
            allowed |= ALLOWED.get(part, set())
        if argument.name not in MAY_BE_NEGATIVE:
            allowed -= {"negative"}
        yield from ((name, value) for name, value in CANDIDATES.items() if name not in allowed)

    async def find_error(self, argument: inspect.Parameter, value: object) -> Exception | None:
        """Call it with one wrong value, and return what it raises."""
        try:
            if argument.kind is inspect.Parameter.VAR_POSITIONAL:
                first, *_ = self.given
                rest = {name: one for name, one in self.given.items() if name != first}
                result: Any = self.call(self.given[first], value, **rest)
            else:
                result = self.call(**{**self.given, argument.name: value})
            if inspect.isawaitable(result):
                await result
            elif inspect.isasyncgen(result):
                await anext(result)
        except Exception as error:  # noqa: BLE001 - what is raised is what the test is about
            return error
        return None


def list_constructors() -> list[Callee]:
    """List the constructors; a ``Fault`` is a value that methods take."""
    made = [
        Callee(getattr(call, "__name__", ""), call, given, ConfigurationError) for call, given in CONSTRUCTORS.items()
    ]
    return [*made, Callee("Fault", sandboxes.Fault, {"kind": "cut_after"}, InvalidArgumentError)]


def list_methods(owner: object) -> Iterator[Callee]:
    """List the public methods of an object that take arguments."""
    for name, function in inspect.getmembers(type(owner), inspect.isfunction):
        taken = list(inspect.signature(function).parameters.values())[1:]
        if name.startswith("_") or name in CALLED_BY_THE_CLIENT or not taken:
            continue
        label = f"{type(owner).__name__}.{name}"
        given = NEEDED.get(label) or {one.name: make_valid(function, one.name) for one in taken if is_required(one)}
        error = ConfigurationError if label in LIKE_CONSTRUCTORS else InvalidArgumentError
        yield Callee(label, getattr(owner, name), given, error)


def is_required(argument: inspect.Parameter) -> bool:
    """Return whether an argument must be given."""
    return argument.default is argument.empty and argument.kind is not argument.VAR_POSITIONAL


def make_valid(function: Callable[..., object], name: str) -> object:
    """Return a value that a method takes for an argument."""
    if name == "path":
        return "/path"
    if name in {"fn", "callback"}:
        return print
    if name == "bardge":
        return make_client()
    if name != "request":
        return VALID[name]
    kind = typing.get_type_hints(function)["request"]
    # A co-pay package stands for all that a request may need instead.
    given = [f.name for f in attrs.fields(kind) if f.default is attrs.NOTHING or f.name == "copay_package_id"]
    return kind(**{name: FIELDS.get(name, "id") for name in given})


async def find_unclear(callee: Callee) -> list[str]:
    """Find wrong values that end in anything but the one error, which names the argument."""
    found: list[str] = []
    for argument in callee.list_arguments():
        for label, value in callee.list_wrong_values(argument):
            error = await callee.find_error(argument, value)
            if not isinstance(error, callee.error) or not re.search(rf"\b{argument.name}\b", str(error)):
                found.append(f"{argument.name} {label}: {type(error).__name__} {error!s:.80}")
    return found


@pytest.mark.parametrize("callee", list_constructors(), ids=repr)
async def test_constructor_names_the_wrong_argument(callee: Callee) -> None:
    """A wrong type in a constructor is a ``ConfigurationError`` that names the argument."""
    assert await find_unclear(callee) == []


OWNERS: Final[dict[str, Callable[[], object]]] = {
    "client": make_client,
    "block": lambda: make_client().idempotent("k"),
    "walk": make_walk,
    "memory": MemoryJournal,
    "sqlite": lambda: SQLiteJournal("journal.db"),
    "postgres": lambda: PostgresJournal(DSN, patience=0),
    "limiter": lambda: PostgresLimiter(DSN, "rate", 5),
    "queue": lambda: BardgeQueue(APP, open_no_client, queue="methods"),
    "sandbox": sandboxes.Sandbox,
    "sandbox clock": sandboxes.SandboxClock,
    "fault plan": sandboxes.FaultPlan,
    **{name: functools.partial(get_resource, name) for name in RESOURCES},
}


@pytest.mark.parametrize("name", OWNERS)
async def test_method_names_the_wrong_argument(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong type in a method is an ``InvalidArgumentError`` that names the argument, and nothing is sent."""
    monkeypatch.chdir(tmp_path)
    async with AsyncExitStack() as stack:
        owner: Any = OWNERS[name]()
        if isinstance(owner, IdempotentClient | sandboxes.Sandbox):
            await stack.enter_async_context(owner)
        if isinstance(owner, SQLiteJournal):
            stack.enter_context(owner)
        found = [f"{callee} {what}" for callee in list_methods(owner) for what in await find_unclear(callee)]
    assert found == []


def test_every_public_class_is_in_the_table() -> None:
    """A new public class is a constructor of the table, a value that the library makes, or fails here."""
    modules = (bardge_async, sandboxes, queues)
    found = {name for module in modules for name in module.__all__ if inspect.isclass(getattr(module, name))}
    checked = {getattr(call, "__name__", "") for call in CONSTRUCTORS} | {"Fault"}
    others = {*models.__all__, *errors.__all__, *endpoints.__all__, *MADE_BY_THE_LIBRARY.split()}
    assert found - checked - others == set()


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: SQLiteJournal("a\0b"), "path: .* contains NUL"),
        (lambda: SQLiteJournal("\udcff.db"), "path: .* is not valid Unicode"),
        (lambda: SQLiteJournal(""), "path: expected the path of a file"),
        (lambda: PostgresJournal("postgresql://u:\udcff@127.0.0.1/d"), "dsn: "),
        (lambda: PostgresLimiter("postgresql://u:\udcff@127.0.0.1/d", "rate", 5), "dsn: "),
        (lambda: sandboxes.Sandbox(db="a\0b"), "db: .* contains NUL"),
        (lambda: sandboxes.Sandbox(port=65_536), "port: .* 0 to 65535"),
        (lambda: sandboxes.Sandbox(latency=math.inf), "latency: expected a number"),
        (lambda: sandboxes.SandboxClock(dt.datetime(2026, 1, 1)), "start: expected a datetime with a time zone"),  # noqa: DTZ001
        (lambda: make_client().with_options(api_key=None), "api_key: expected text or a callable"),  # type: ignore[arg-type]
        (lambda: make_client().batch([], job="\udcff"), "job: .* is not valid Unicode"),
        (lambda: make_operation("passes.list"), "endpoint: passes.list takes no idempotency key"),
        (lambda: make_operation("nonsense"), "endpoint: no endpoint is named"),
    ],
)
def test_wrong_value_is_named(call: Callable[[], object], reason: str) -> None:
    """A value of the right type that cannot be used is named, with what is expected."""
    with pytest.raises(ConfigurationError, match=reason):
        call()
