"""What to do after an attempt: every response, for every kind of endpoint, after every history; pure."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import attrs
import pytest

from bardge_async import ClockReading, ReplayWindow, RetryPolicy, errors
from bardge_async import endpoints as e
from bardge_async._core import retry
from bardge_async._core.window import History
from bardge_async.endpoints import Endpoint, KeySupport
from bardge_async.errors import BardgeError, NotSentError, OutcomeUnknownError
from tests.support.answers import OBJECTS, PAGES, WALL, classify_attempt

START = ClockReading(WALL, 1000.0, WALL)
ROWS: dict[str, Endpoint[Any, Any]] = {
    "get": e.GET_CLIENT_CREDITS,
    "same": e.UPDATE_EXPIRY,
    "same-": e.QUOTE_SPA_COPAY,
    "twice": e.PURCHASE_CREDITS,
    "twice?": e.INITIATE_LOOKUP,
    "twice-": attrs.evolve(e.INITIATE_LOOKUP, key=KeySupport.NO),
    "conflict?": e.CANCEL_BOOKING,
    "conflict-": attrs.evolve(e.VERIFY_LOOKUP, key=KeySupport.NO),
}
DOUBTFUL = [
    "cut",
    "408",
    "425",
    "503",
    "200 html",
    "200 empty",
    "200 broken",
    "302",
    "500 page",
    "502 page",
    "503 page",
    "504 page",
    "520 page",
]
SETTLING = {
    "400": errors.InvalidRequestError,
    "404": errors.NotFoundError,
    "409 conflict": errors.ResourceConflictError,
    "409 reused": errors.IdempotencyKeyReusedError,
    "422": errors.InvalidRequestError,
    "200 odd": errors.DecodeError,
}
UNDECIDED = ["refused", "no slot", "401", "403", "429", "429 page", "400 page", "404 page", "409 page"]


def make_reading(seconds: float) -> ClockReading:
    return ClockReading(START.wall + seconds, START.elapsed + seconds, START.highest + seconds)


@attrs.define
class Play:
    """A key's history, attempt by attempt, as the engine enters it."""

    row: Endpoint[Any, Any] = e.PURCHASE_CREDITS
    policy: RetryPolicy = attrs.field(factory=RetryPolicy)
    window: ReplayWindow = attrs.field(factory=ReplayWindow)
    history: History = attrs.field(factory=History)

    def enter_attempt(self, name: str, *, at: ClockReading = START, **headers: str) -> retry.RetryContext:
        """Enter one more attempt that started at an instant; return its case, with 60 s of the call left."""
        self.history.attempts += name != "no slot"
        if self.history.first_sent is None:
            self.history.first_sent = at
        result = classify_attempt(self.row, name, **headers)
        retry.update_history(self.row, self.history, result)
        return retry.RetryContext(
            endpoint=self.row,
            history=self.history,
            outcome=result,
            policy=self.policy,
            window=self.window,
            now=at,
            call_seconds_left=60.0,
            jitter=0.5,
            key="order-1",
        )


def build_case(row: str, *names: str, **headers: str) -> retry.RetryContext:
    """Return the case after attempts of these names, all at the same instant."""
    play = Play(ROWS[row], RetryPolicy(max_attempts=100))
    *first, last = names
    for name in first:
        play.enter_attempt(name)
    return play.enter_attempt(last, at=START, **headers)


def decide(case: retry.RetryContext) -> str:
    """Return ``again``, or the name of the error to end with."""
    decided = retry.decide_retry(case)
    return type(decided).__name__ if isinstance(decided, BardgeError) else "again"


def decide_error(case: retry.RetryContext) -> BardgeError:
    decided = retry.decide_retry(case)
    assert isinstance(decided, BardgeError)
    return decided


def decide_unknown(case: retry.RetryContext) -> OutcomeUnknownError:
    error = decide_error(case)
    assert isinstance(error, OutcomeUnknownError)
    return error


# What the first attempt's response leads to, by kind of endpoint: "?" has K?, "-" has no key.
FIRST = """
answer       | get | same | same- | twice | twice? | twice- | conflict? | conflict-
refused      | again | again | again | again | again | again | again | again
cut          | again | again | again | again | Unknown | Unknown | Unknown | Unknown
200 html     | again | again | again | again | Unknown | Unknown | Unknown | Unknown
200 empty    | again | again | again | again | Unknown | Unknown | Unknown | Unknown
200 broken   | again | again | again | again | Unknown | Unknown | Unknown | Unknown
302          | again | again | again | again | Unknown | Unknown | Unknown | Unknown
500 page     | again | again | again | Unknown | Unknown | Unknown | Unknown | Unknown
520 page     | again | again | again | again | Unknown | Unknown | Unknown | Unknown
502 page     | again | again | again | again | Unknown | Unknown | Unknown | Unknown
503          | again | again | again | Unknown | Unknown | Unknown | Unknown | Unknown
504 page     | again | again | again | again | Unknown | Unknown | Unknown | Unknown
200 odd      | Decode | Decode | Decode | Decode | Decode | Decode | Decode | Decode
400          | InvalidRequest | InvalidRequest | InvalidRequest | InvalidRequest | InvalidRequest | InvalidRequest | InvalidRequest | InvalidRequest
401          | Authentication | Authentication | Authentication | Authentication | Authentication | Authentication | Authentication | Authentication
403          | PermissionDenied | PermissionDenied | PermissionDenied | PermissionDenied | PermissionDenied | PermissionDenied | PermissionDenied | PermissionDenied
404          | NotFound | NotFound | NotFound | NotFound | NotFound | NotFound | NotFound | NotFound
404 page     | NotFound | NotFound | NotFound | NotFound | NotFound | NotFound | NotFound | NotFound
409 conflict | . | ResourceConflict | ResourceConflict | ResourceConflict | ResourceConflict | ResourceConflict | ResourceConflict | ResourceConflict
409 reused   | . | IdempotencyKeyReused | . | IdempotencyKeyReused | IdempotencyKeyReused | . | . | .
409 running  | . | again | . | again | Unknown | . | . | .
429          | again | again | again | again | again | again | again | again
500          | again | again | again | Unknown | Unknown | Unknown | . | .
500 replayed | . | Server | . | Unknown | . | . | . | .
"""


def parse_cells() -> list[tuple[str, str, str]]:
    head, *lines = [[cell.strip() for cell in line.split("|")] for line in FIRST.strip().splitlines()]
    table = [(line[0], row, cell) for line in lines for row, cell in zip(head[1:], line[1:], strict=True)]
    return [(answer, row, expected) for answer, row, expected in table if expected != "."]


@pytest.mark.parametrize(("answer", "row", "expected"), parse_cells())
def test_first_answer(answer: str, row: str, expected: str) -> None:
    """Each response to a first attempt leads to a retry or to its one error, by kind of endpoint."""
    wanted = {"again": "again", "Unknown": "OutcomeUnknownError"}.get(expected, f"{expected}Error")
    assert decide(build_case(row, answer)) == wanted


@pytest.mark.parametrize("second", [*UNDECIDED, *DOUBTFUL, "500", "500 replayed"])
def test_doubt_stays(second: str) -> None:
    """Once a charging POST was sent and not answered, only a settling response makes its outcome known."""
    error = retry.final_error(build_case("twice", "cut", second))
    assert (type(error), error.sent) == (OutcomeUnknownError, True)


@pytest.mark.parametrize("second", SETTLING)
def test_doubt_is_settled(second: str) -> None:
    """A 2xx, or 400, 404, 409 or 422 with the API's error object, settles an earlier doubt."""
    assert type(decide_error(build_case("twice", "cut", second))) is SETTLING[second]


def predict_doubt(names: tuple[str, ...]) -> bool:
    """Return whether a history leaves a charging POST in doubt, computed the simple way."""
    doubt = False
    for name in names:
        doubt = name not in SETTLING and (doubt or name in {*DOUBTFUL, "500", "500 replayed"})
    return doubt


def test_every_history_of_three() -> None:
    """After any three responses the verdict covers the whole history, never only the last attempt."""
    kinds = [*UNDECIDED, *DOUBTFUL, *SETTLING, "500", "500 replayed"]
    wrong = [
        names
        for names in itertools.product(kinds, repeat=3)
        if isinstance(retry.final_error(build_case("twice", *names)), OutcomeUnknownError) is not predict_doubt(names)
    ]
    assert wrong == []


def test_not_sent_means_not_sent() -> None:
    """No history in which an attempt was sent ends as "nothing reached the server", and each says so in ``sent``."""
    kinds = ["refused", "no slot", "cut", "429", "401", "404 page"]
    for row, names in itertools.product(ROWS, itertools.product(kinds, repeat=2)):
        error = retry.final_error(build_case(row, *names))
        sent = not set(names) <= {"refused", "no slot"}
        assert (error.sent, isinstance(error, NotSentError)) == (sent, not sent), (row, names)


def test_refused_then_cut_counts_from_the_send() -> None:
    """An attempt that was proved not sent starts no window: it counts from the first send."""
    play = Play()
    play.enter_attempt("refused")
    error = retry.final_error(play.enter_attempt("cut", at=make_reading(30)))
    assert isinstance(error, OutcomeUnknownError)
    assert error.first_sent_at == make_reading(30).to_datetime()


@pytest.mark.parametrize("first", ["429", "401", "404 page"])
def test_refusal_opens_no_window(first: str) -> None:
    """A response that proves that nothing was executed starts no window."""
    play = Play()
    play.enter_attempt(first)
    error = retry.final_error(play.enter_attempt("cut", at=make_reading(30)))
    assert isinstance(error, OutcomeUnknownError)
    assert error.first_sent_at == make_reading(30).to_datetime()


@pytest.mark.parametrize("row", ["same", "same-", "get"])
def test_harmless_rows_repeat_after_a_fault(row: str) -> None:
    """A 5xx with the API's error object is retried where that is harmless, and ends as ServerError."""
    case = build_case(row, "500", "500")
    assert (decide(case), type(retry.final_error(case))) == ("again", errors.ServerError)


def test_fault_of_a_charging_post() -> None:
    """A 5xx error object on a ``twice`` endpoint ends as outcome unknown, with it as ``last_error``."""
    error = decide_unknown(build_case("twice", "500"))
    assert (type(error.last_error), error.attempts) == (errors.ServerError, 1)


@pytest.mark.parametrize(("row", "expected"), [("twice", "again"), ("twice?", "OutcomeUnknownError")])
def test_repeat_server_errors(row: str, expected: str) -> None:
    """Users who know that errors are cached may retry a faulted POST, if a key protects it."""
    case = attrs.evolve(build_case(row, "500"), policy=RetryPolicy(repeat_server_errors=True))
    assert decide(case) == expected


def test_repeat_server_errors_spares_replayed_ones() -> None:
    """A cached failure is not retried, whatever the policy."""
    case = attrs.evolve(build_case("twice", "500 replayed"), policy=RetryPolicy(repeat_server_errors=True))
    assert decide(case) == "OutcomeUnknownError"


def test_replayed_page_is_not_hammered() -> None:
    """A 5xx page that is marked as replayed is cached too: no retry."""
    assert decide(build_case("twice", "500 page", X_Idempotent_Replayed="true")) == "OutcomeUnknownError"


@pytest.mark.parametrize("answer", ["refused", "cut", "429"])
def test_max_attempts_counts_the_first(answer: str) -> None:
    """With ``max_attempts=2`` the second attempt is the last."""
    play = Play(policy=RetryPolicy(max_attempts=2))
    assert [decide(play.enter_attempt(answer)) == "again" for _ in range(2)] == [True, False]


def test_waiting_for_a_connection_is_not_repeated() -> None:
    """A call that timed out waiting for a connection has waited enough."""
    assert decide(build_case("get", "no slot")) == "PoolTimeoutError"


@pytest.mark.parametrize(
    ("roll", "attempts", "expected"),
    [(0, 1, 0), (1, 1, 0.25), (1, 2, 0.5), (1, 3, 1), (1, 6, 8), (1, 50, 8), (0.5, 2, 0.25), (1, 100, 8)],
)
def test_full_jitter(roll: float, attempts: int, expected: float) -> None:
    """The wait is a random part of a bound that doubles from ``base`` up to ``cap``."""
    assert retry.compute_backoff(RetryPolicy(), attempts, roll) == expected


@pytest.mark.parametrize(("roll", "low", "high"), [(0.0, 5, 5), (1.0, 5, 5.25), (0.5, 5, 5.25)])
def test_retry_after_is_a_lower_bound(roll: float, low: float, high: float) -> None:
    """``Retry-After`` is waited out in full; jitter only adds to it."""
    wait = retry.decide_retry(attrs.evolve(build_case("get", "429", Retry_After="5"), jitter=roll))
    assert isinstance(wait, float)
    assert low <= wait <= high


@pytest.mark.parametrize(("row", "answer"), [("get", "429"), ("twice", "429"), ("get", "503")])
def test_retry_after_beyond_the_cap(row: str, answer: str) -> None:
    """A ``Retry-After`` above the cap ends the call immediately and is reported."""
    error = decide_error(build_case(row, answer, Retry_After="61"))
    assert (isinstance(error, errors.APIError), error.retry_after) == (True, 61)


def test_retry_after_beyond_the_cap_in_doubt() -> None:
    """A 503 with a too long ``Retry-After`` for a charging POST leaves its outcome unknown, with the time asked."""
    assert decide_unknown(build_case("twice", "503", Retry_After="61")).retry_after == 61


def test_retry_after_survives_a_refused_connection() -> None:
    """The ``Retry-After`` of the last response is reported even if the last attempt got no connection."""
    play = Play()
    play.enter_attempt("429", Retry_After="7")
    error = retry.final_error(play.enter_attempt("refused"))
    assert (error.sent, error.retry_after) == (True, 7)


@pytest.mark.parametrize("answer", ["refused", "cut", "429", "500 page"])
@pytest.mark.parametrize("call_left", [0.0, 0.1, -1.0])
def test_wait_past_the_deadline_is_not_begun(answer: str, call_left: float) -> None:
    """A wait that would exceed the call's deadline is not started, and the error says that time ended the call."""
    error = decide_error(attrs.evolve(build_case("get", answer), call_seconds_left=call_left))
    assert error.timed_out


def test_retry_after_past_the_deadline() -> None:
    """The same is true of a wait that the server asked for."""
    error = decide_error(attrs.evolve(build_case("get", "429", Retry_After="30"), call_seconds_left=20.0))
    assert (type(error), error.retry_after) == (errors.RateLimitError, 30)


@pytest.mark.parametrize(
    ("age", "expected"), [(0, "again"), (70, "again"), (78.5, "again"), (79.5, "ends"), (80, "ends"), (500, "ends")]
)
def test_window(age: float, expected: str) -> None:
    """An unanswered charging POST is retried only within the window less its margin, with a second to spare."""
    play = Play()
    play.enter_attempt("cut")
    decided = decide(play.enter_attempt("cut", at=make_reading(age)))
    assert decided == ("again" if expected == "again" else "OutcomeUnknownError")


def test_wait_past_the_window_is_not_begun() -> None:
    """A wait that would exceed the window is not started either."""
    play = Play()
    play.enter_attempt("cut")
    assert decide(play.enter_attempt("503", at=make_reading(50), Retry_After="31")) == "OutcomeUnknownError"


@pytest.mark.parametrize("answer", ["cut", "429", "refused"])
def test_same_rows_repeat_past_the_window(answer: str) -> None:
    """An endpoint that sets an absolute state does not depend on the key's window."""
    play = Play(e.UPDATE_EXPIRY)
    play.enter_attempt("cut")
    assert decide(play.enter_attempt(answer, at=make_reading(500))) == "again"


def test_not_sent_has_no_window() -> None:
    """What was proved not sent may be retried at any time."""
    play = Play()
    play.enter_attempt("refused")
    assert decide(play.enter_attempt("refused", at=make_reading(500))) == "again"


@pytest.mark.parametrize(
    "now",
    [
        ClockReading(WALL - 3600, 1085.0, WALL + 1),
        ClockReading(WALL + 85, 1001.0, WALL + 85),
        ClockReading(WALL + 1, 1002.0, WALL + 85, peaks=((1001.0, WALL + 85),)),
    ],
    ids=["wall jumped back", "elapsed stood still", "wall was once later"],
)
def test_no_clock_reopens_a_window(now: ClockReading) -> None:
    """The age of a window is that of the clock that shows the most."""
    play = Play()
    play.enter_attempt("cut")
    assert decide(play.enter_attempt("cut", at=now)) == "OutcomeUnknownError"


def test_other_window_lengths() -> None:
    """Length and margin can be set by the user."""
    play = Play(window=ReplayWindow(length=10, margin=2))
    play.enter_attempt("cut")
    assert [decide(play.enter_attempt("cut", at=make_reading(age))) == "again" for age in (5, 7.5)] == [True, False]


def test_unknown_outcome_tells_the_window() -> None:
    """The error says when the key was first sent and when the server forgets it: 90 s later, aware UTC."""
    error = decide_unknown(attrs.evolve(build_case("twice", "cut"), policy=RetryPolicy(max_attempts=1)))
    assert error.first_sent_at is not None
    assert error.first_sent_at == dt.datetime.fromtimestamp(WALL, dt.UTC)
    assert error.window_closes_at == error.first_sent_at + dt.timedelta(seconds=90)
    assert error.first_sent_at.tzinfo is dt.UTC


@pytest.mark.parametrize("row", ["twice?", "twice-", "conflict?", "conflict-"])
def test_no_window_without_a_proven_key(row: str) -> None:
    """Without a key that protects the endpoint there is no window for retries."""
    error = decide_unknown(build_case(row, "cut"))
    assert (error.window_closes_at, error.may_repeat) == (None, False)


@pytest.mark.parametrize(
    ("row", "age", "expected"), [("twice", 0, True), ("twice", 79.9, False), ("same", 79.9, True), ("same-", 0, True)]
)
def test_may_repeat(row: str, age: float, expected: bool) -> None:
    """It may be repeated by hand while the window is open, or if a repeat is harmless anyway."""
    play = Play(ROWS[row])
    play.enter_attempt("cut")
    error = retry.final_error(play.enter_attempt("cut", at=make_reading(age)))
    assert isinstance(error, OutcomeUnknownError)
    assert error.may_repeat is expected


@pytest.mark.parametrize(
    ("row", "word"), [("twice", "get_credits"), ("conflict?", "list_for_client"), ("same", "harmless")]
)
def test_unknown_outcome_says_how_to_find_out(row: str, word: str) -> None:
    """The message says how to find out, or that it does not matter."""
    assert word in str(retry.final_error(build_case(row, "cut")))


@pytest.mark.parametrize(("names", "expected"), [(("409 conflict",), False), (("cut", "409 conflict"), True)])
def test_conflict_that_may_be_our_own(names: tuple[str, ...], expected: bool) -> None:
    """A resource conflict on a retry may be our own doing, and says so."""
    error = retry.final_error(build_case("twice", *names))
    assert isinstance(error, errors.ResourceConflictError)
    assert error.sent_before is expected


@pytest.mark.parametrize(
    ("row", "names", "expected"),
    [
        ("get", ("cut",), True),
        ("twice", ("refused",), True),
        ("twice", ("429",), True),
        ("same", ("cut",), True),
        ("same", ("500",), True),
        ("twice", ("400",), False),
        ("twice", ("401",), False),
        ("twice", ("200 odd",), False),
        ("twice?", ("cut",), False),
        ("twice-", ("500",), False),
    ],
)
def test_retryable(row: str, names: tuple[str, ...], expected: bool) -> None:
    """``retryable`` says whether the same call under the same key may be retried later without harm."""
    assert retry.final_error(build_case(row, *names)).retryable is expected


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("answer", [*OBJECTS, *PAGES, "cut", "refused", "200 odd"])
def test_every_error_carries_the_call(row: str, answer: str) -> None:
    """Whatever a call ends with names its endpoint, its key and its attempts."""
    error = retry.final_error(build_case(row, "refused", answer))
    assert (error.endpoint, error.idempotency_key, error.attempts) == (ROWS[row].name, "order-1", 2)


@pytest.mark.parametrize("answer", [*OBJECTS, *PAGES])
@pytest.mark.parametrize("row", ["get", "twice"])
def test_every_answer_leaves_its_request_id(row: str, answer: str) -> None:
    """The last answer's request id is on the error, for the vendor's support."""
    assert retry.final_error(build_case(row, answer)).request_id == "req_header"


def test_timed_out_is_about_the_end() -> None:
    """A time limit of an earlier attempt is not what ended a call that was then refused."""
    play = Play()
    case = play.enter_attempt("cut")
    assert case.outcome.error is not None
    case.outcome.error.timed_out = True
    retry.update_history(play.row, play.history, case.outcome)
    assert not retry.final_error(play.enter_attempt("404")).timed_out
