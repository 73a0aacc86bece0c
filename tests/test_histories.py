"""The outcome of every pair and triple of responses, by kind of endpoint: tabled here, independently of the code."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import pytest
from multidict import CIMultiDict

from bardge_async import (
    BardgeClient,
    ClockReading,
    InitiateLookup,
    ReplayWindow,
    RetryPolicy,
    UpdateIssuedPassExpiry,
    WireResponse,
    errors,
)
from bardge_async import endpoints as e
from bardge_async._core import response as wire
from bardge_async._core import retry
from bardge_async._core.response import Outcome
from bardge_async._core.window import History
from bardge_async.endpoints import Endpoint, KeySupport
from campaigns.window.operations import DAYS
from tests.support.answers import ORIGIN, WALL, classify_attempt
from tests.support.net import call_back_then
from tests.support.rig import PURCHASE, Rig, open_rig
from tests.support.server import Step, cut, error, reply

ROWS: Final[dict[str, Endpoint[Any, Any]]] = {
    "twice": e.PURCHASE_CREDITS,
    "twice?": e.INITIATE_LOOKUP,
    "twice-": attrs.evolve(e.INITIATE_LOOKUP, key=KeySupport.NO),
    "conflict?": e.CANCEL_BOOKING,
    "conflict-": attrs.evolve(e.VERIFY_LOOKUP, key=KeySupport.NO),
    "same": e.UPDATE_EXPIRY,
    "same-": e.QUOTE_SPA_COPAY,
    "get": e.GET_CLIENT_CREDITS,
}

# The verdict after two attempts: the first response by line, the second by column. A line stands for every kind of
# response with the same effect: "cut" for every unusable response, "401" for those that refuse without settling,
# "400" for those that settle. Nothing follows a done operation.
#   unknown: OutcomeUnknownError    not sent: nothing reached the server    done: executed, once and known
#   refused: an APIError, not executed    failed: ServerError, harmless to repeat    no answer: NoAnswerError
CHARGING = """
            | refused  | cut     | 401     | 404 page | 429     | 500     | 500 replayed | 409 running | 400     | 409 conflict | 200 odd | 200
refused     | not sent | unknown | refused | refused  | refused | unknown | unknown      | unknown     | refused | refused      | done    | done
cut         | unknown  | unknown | unknown | unknown  | unknown | unknown | unknown      | unknown     | refused | refused      | done    | done
401         | refused  | unknown | refused | refused  | refused | unknown | unknown      | unknown     | refused | refused      | done    | done
404 page    | refused  | unknown | refused | refused  | refused | unknown | unknown      | unknown     | refused | refused      | done    | done
429         | refused  | unknown | refused | refused  | refused | unknown | unknown      | unknown     | refused | refused      | done    | done
500         | unknown  | unknown | unknown | unknown  | unknown | unknown | unknown      | unknown     | refused | refused      | done    | done
500 replayed| unknown  | unknown | unknown | unknown  | unknown | unknown | unknown      | unknown     | refused | refused      | done    | done
409 running | unknown  | unknown | unknown | unknown  | unknown | unknown | unknown      | unknown     | refused | refused      | done    | done
400         | refused  | unknown | refused | refused  | refused | unknown | unknown      | unknown     | refused | refused      | done    | done
409 conflict| refused  | unknown | refused | refused  | refused | unknown | unknown      | unknown     | refused | refused      | done    | done
"""
HARMLESS = """
            | refused  | cut     | 401     | 404 page | 429     | 500     | 500 replayed | 409 running | 400     | 409 conflict | 200 odd | 200
refused     | not sent | unknown | refused | refused  | refused | failed  | failed       | unknown     | refused | refused      | done    | done
cut         | unknown  | unknown | unknown | unknown  | unknown | unknown | unknown      | unknown     | refused | refused      | done    | done
401         | refused  | unknown | refused | refused  | refused | failed  | failed       | unknown     | refused | refused      | done    | done
404 page    | refused  | unknown | refused | refused  | refused | failed  | failed       | unknown     | refused | refused      | done    | done
429         | refused  | unknown | refused | refused  | refused | failed  | failed       | unknown     | refused | refused      | done    | done
500         | failed   | unknown | refused | refused  | refused | failed  | failed       | unknown     | refused | refused      | done    | done
500 replayed| failed   | unknown | refused | refused  | refused | failed  | failed       | unknown     | refused | refused      | done    | done
409 running | unknown  | unknown | unknown | unknown  | unknown | unknown | unknown      | unknown     | refused | refused      | done    | done
400         | refused  | unknown | refused | refused  | refused | failed  | failed       | unknown     | refused | refused      | done    | done
409 conflict| refused  | unknown | refused | refused  | refused | failed  | failed       | unknown     | refused | refused      | done    | done
"""
READING = """
            | refused   | cut       | 401     | 404 page | 429     | 500     | 500 replayed | 409 running | 400     | 409 conflict | 200 odd | 200
refused     | not sent  | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
cut         | no answer | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
401         | refused   | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
404 page    | refused   | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
429         | refused   | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
500         | failed    | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
500 replayed| failed    | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
409 running | refused   | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
400         | refused   | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
409 conflict| refused   | no answer | refused | refused  | refused | failed  | failed       | refused     | refused | refused      | done    | done
"""
# Other responses with the same effect as one in the table.
ALIKE = {
    "cut": ["200 html", "200 empty", "200 broken", "302", "502 page", "520 page", "503 page", "408", "425"],
    "401": ["403", "429 page", "400 page", "409 page"],
    "400": ["404", "422", "409 reused"],
    "500": ["500 page", "503"],
}


def parse_table(table: str) -> dict[tuple[str, str], str]:
    head, *lines = [[cell.strip() for cell in line.split("|")] for line in table.strip("\n").splitlines()]
    return {(line[0], second): cell for line in lines for second, cell in zip(head[1:], line[1:], strict=True)}


PAIRS: Final = {
    row: parse_table(READING if row == "get" else HARMLESS if row.startswith("same") else CHARGING) for row in ROWS
}
FIRSTS: Final = list(dict.fromkeys(first for first, _ in PAIRS["twice"]))
LASTS: Final = list(dict.fromkeys(last for _, last in PAIRS["twice"]))


def look_up_verdict(row: str, names: tuple[str, ...]) -> str:
    """Read a history's verdict from the table: two by two, from the left."""
    pairs = PAIRS[row]
    if len(names) == 1:
        return pairs["refused", names[0]]
    *earlier, last = names
    before = look_up_verdict(row, tuple(earlier))
    if before == "unknown":
        return pairs["cut", last]
    if last != "refused":
        return pairs["refused", last]
    # A failed connection adds nothing: the last verdict stands, or that nothing was sent.
    said = [name for name in earlier if name not in {"refused", "cut"}]
    return pairs[said[-1], last] if said else before


def build_case(row: Endpoint[Any, Any], names: tuple[str, ...]) -> retry.RetryContext:
    """Enter attempts into one history, as the engine does."""
    history, now = History(), ClockReading(WALL, 1000.0, WALL)
    found = Outcome(wire.Verdict.DONE)
    for name in names:
        history.attempts += 1
        history.first_sent = history.first_sent or now
        done = WireResponse(200, CIMultiDict(), b"{}")
        found = wire.classify(row, done, WALL, ORIGIN) if name == "200" else classify_attempt(row, name)
        retry.update_history(row, history, found)
    policy = RetryPolicy(max_attempts=100)
    return retry.RetryContext(
        row, history, found, policy, ReplayWindow(), now, call_seconds_left=60.0, jitter=0.5, key="order-1"
    )


def describe_error(raised: BaseException | None) -> str:
    words: dict[type[BaseException], str] = {
        errors.OutcomeUnknownError: "unknown",
        errors.NotSentError: "not sent",
        errors.NoAnswerError: "no answer",
        errors.DecodeError: "done",
        errors.ServerError: "failed",
        errors.APIError: "refused",
    }
    return next((said for kind, said in words.items() if isinstance(raised, kind)), "done" if raised is None else "?")


def compute_verdict(row: str, names: tuple[str, ...]) -> str:
    case = build_case(ROWS[row], names)
    if case.outcome.error is None:
        assert not case.history.in_doubt
        return "done"
    return describe_error(retry.final_error(case))


def find_wrong(row: str, histories: itertools.product[tuple[str, ...]]) -> list[tuple[tuple[str, ...], str, str]]:
    found = [(names, look_up_verdict(row, names), compute_verdict(row, names)) for names in histories]
    return [one for one in found if one[1] != one[2]]


@pytest.mark.parametrize("row", ROWS)
def test_pairs(row: str) -> None:
    """Two attempts end as the table says."""
    found = {pair: compute_verdict(row, pair) for pair in PAIRS[row]}
    assert found == PAIRS[row]


@pytest.mark.parametrize("row", ROWS)
def test_triples(row: str) -> None:
    """Three attempts end as the table says, read from the left."""
    assert find_wrong(row, itertools.product(FIRSTS, FIRSTS, LASTS)) == []


def find_unlike() -> list[tuple[str, str, str]]:
    found = [(row, like, other) for row in ROWS for like, others in ALIKE.items() for other in others]
    # A GET may simply report these, if they have the API's error object.
    return [one for one in found if one[0] != "get" or one[2] not in {"408", "425"}]


@pytest.mark.parametrize(("row", "like", "other"), find_unlike())
def test_alike(row: str, like: str, other: str) -> None:
    """A response outside the table has the same effect as its substitute, before and after every other response."""
    places = [(other, last) for last in LASTS] + [(first, other) for first in FIRSTS]
    same = [(like, last) for last in LASTS] + [(first, like) for first in FIRSTS]
    assert [compute_verdict(row, names) for names in places] == [look_up_verdict(row, names) for names in same]


def is_retried(row: str, names: tuple[str, ...]) -> bool:
    """Return whether a call is retried after a history, by the written rules."""
    if names[-1] in {"400", "409 conflict", "401", "404 page", "500 replayed", "200 odd", "200"}:
        return False
    if row in {"get", "same", "same-"}:
        return True
    protected = row == "twice"
    return names[-1] != "500" and (protected or look_up_verdict(row, names) != "unknown")


@pytest.mark.parametrize("row", ROWS)
def test_repeats(row: str) -> None:
    """After every pair and triple a call is retried only if that charges nothing."""
    histories = [*itertools.product(FIRSTS, LASTS), *itertools.product(FIRSTS, FIRSTS, LASTS)]
    cases = {names: build_case(ROWS[row], names) for names in histories if names[-1] != "200"}
    found = {names: isinstance(retry.decide_retry(case), float) for names, case in cases.items()}
    assert found == {names: is_retried(row, names) for names in cases}


@pytest.mark.parametrize("row", ROWS)
def test_unknown_carries_the_key(row: str) -> None:
    """Every unknown outcome has its key, and says that it was sent and when."""
    for names in itertools.product(FIRSTS, LASTS):
        if PAIRS[row][names] == "unknown":
            found = retry.final_error(build_case(ROWS[row], names))
            assert isinstance(found, errors.OutcomeUnknownError)
            assert (found.idempotency_key, found.sent, found.first_sent_at is None) == ("order-1", True, False)


STEPS: Final[dict[str, Step]] = {
    "cut": cut(),
    "401": error(401, "authentication_error", "token_expired"),
    "429": error(429),
    "500": error(500),
    "500 replayed": error(500, X_Idempotent_Replayed="true"),
    "409 running": error(409, "idempotency_error", "request_in_progress"),
    "400": error(400, "invalid_request_error", "validation_error"),
    "409 conflict": error(409, "resource_conflict_error", "class_full"),
    "200": reply(200, {"id": "x"}),
}
CALLS: Final[dict[str, Callable[[BardgeClient], Awaitable[object]]]] = {
    "twice": lambda b: b.credits.purchase(PURCHASE),
    "twice?": lambda b: b.lookups.initiate(InitiateLookup(issuer_id="i", client_id="c")),
    "same": lambda b: b.passes.update_expiry("client_1", UpdateIssuedPassExpiry(expiry_date=DAYS["good"])),
    "get": lambda b: b.clients.get_credits("client_1"),
}
SAMPLE: Final = [
    *itertools.product(["cut", "429", "409 running"], [*LASTS[:-2], "200"]),
    ("cut", "429", "refused"),
    ("429", "cut", "400"),
    ("429", "cut", "429"),
    ("409 running", "cut", "200"),
    ("cut", "409 running", "500"),
]


@attrs.define
class Player:
    """Play a history through real sockets: before a refused connection the listener closes."""

    names: list[str]
    it: Rig | None = None

    def script(self) -> list[Step]:
        following = [*self.names[1:], ""]
        return [
            call_back_then(self._close, STEPS[name]) if after == "refused" else STEPS[name]
            for name, after in zip(self.names, following, strict=True)
            if name != "refused"
        ]

    def _close(self) -> None:
        assert self.it is not None
        self.it.server.refuse()


def truncate_history(row: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the part of a history that a call reaches: it ends with the first response that is not retried."""
    ends = (at for at in range(1, len(names)) if names[at - 1] != "refused" and not is_retried(row, names[:at]))
    return names[: next(ends, len(names))]


@pytest.mark.parametrize("row", CALLS)
@pytest.mark.parametrize("names", [names for names in SAMPLE if "404 page" not in names], ids="-".join)
async def test_through_sockets(row: str, names: tuple[str, ...]) -> None:
    """A call through real sockets ends as the table says of the responses it got."""
    names = truncate_history(row, names)
    player = Player(list(names))
    raised: BaseException | None = None
    policy = RetryPolicy(base=0, max_attempts=len(names))
    async with open_rig(*player.script(), retry=policy) as it:
        player.it = it
        try:
            await CALLS[row](it.bardge)
        except errors.BardgeError as caught:
            raised = caught
    assert describe_error(raised) == look_up_verdict(row, names)
