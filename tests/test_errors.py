"""The exception tree: its shape, and that every error survives pickle and copy."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from bardge_async import errors
from bardge_async.errors import (
    APIError,
    BardgeError,
    ConfigurationError,
    ConnectError,
    DecodeError,
    InvalidArgumentError,
    OutcomeUnknownError,
)

TREE = """\
BardgeError
  ConfigurationError
  InvalidArgumentError
  IdempotencyMisuseError
  AlreadyDoneError
  NotSentError
    ConnectError
    PoolTimeoutError
    ThrottledError
    KeyInUseError
    JournalError
  NoAnswerError
  OutcomeUnknownError
  DecodeError
  PaginationError
  APIError
    InvalidRequestError
    AuthenticationError
    PermissionDeniedError
    NotFoundError
    ConflictError
      IdempotencyKeyReusedError
      ResourceConflictError
    RateLimitError
    ServerError
"""

CLASSES: list[type[BardgeError]] = [getattr(errors, line.strip()) for line in TREE.splitlines()]

Remake = Callable[[BardgeError], BardgeError]


def make_pickler(protocol: int) -> Remake:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes


REMAKES: dict[str, Remake] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle-{protocol}": make_pickler(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}

COMMON: dict[str, Any] = {
    "endpoint": "credits.purchase",
    "idempotency_key": "order-8731",
    "attempts": 3,
    "sent": True,
    "timed_out": True,
    "retryable": True,
    "retry_after": 1.5,
    "request_id": "req_01H8XYZABCDE",
    "cursor": "pass_01H8XYZABCDE",
}


def format_tree(cls: type[BardgeError], depth: int = 0) -> str:
    below = "".join(format_tree(sub, depth + 1) for sub in cls.__subclasses__())
    return f"{'  ' * depth}{cls.__name__}\n{below}"


def make_filled_error(cls: type[BardgeError], **more: object) -> BardgeError:
    error = cls("what happened")
    for name, value in {**COMMON, **more}.items():
        setattr(error, name, value)
    return error


@pytest.fixture(params=list(REMAKES))
def remake(request: pytest.FixtureRequest) -> Remake:
    return REMAKES[request.param]


def test_tree() -> None:
    """The classes and their bases are those of the issue."""
    assert format_tree(BardgeError) == TREE


def test_tree_in_docstring() -> None:
    """The module's docstring names every class in the tree's order."""
    words = (errors.__doc__ or "").split()
    named = [word for word in words if word.endswith("Error") and hasattr(errors, word)]
    assert named == TREE.split()


def test_all() -> None:
    """``__all__`` is sorted and holds exactly the tree."""
    assert errors.__all__ == sorted(errors.__all__)
    assert set(errors.__all__) == set(TREE.split())


@pytest.mark.parametrize("cls", [ConfigurationError, InvalidArgumentError])
def test_value_errors(cls: type[BardgeError]) -> None:
    """The two errors of wrong use are ValueErrors as well."""
    with pytest.raises(ValueError, match="what happened"):
        raise cls("what happened")


def test_other_errors_are_no_value_errors() -> None:
    """Nothing but the two errors of wrong use is caught as a ValueError."""
    assert [cls for cls in CLASSES if issubclass(cls, ValueError)] == [ConfigurationError, InvalidArgumentError]


@pytest.mark.parametrize("cls", CLASSES)
def test_defaults(cls: type[BardgeError]) -> None:
    """A bare error claims nothing, except that what was not sent may be retried."""
    assert {name: getattr(cls(), name) for name in COMMON} == {
        "endpoint": None,
        "idempotency_key": None,
        "attempts": 0,
        "sent": False,
        "timed_out": False,
        "retryable": issubclass(cls, errors.NotSentError),
        "retry_after": None,
        "request_id": None,
        "cursor": None,
    }


@pytest.mark.parametrize("cls", CLASSES)
def test_survives(cls: type[BardgeError], remake: Remake) -> None:
    """Every class keeps type, message and common attributes through pickle and copy."""
    again = remake(make_filled_error(cls))
    assert type(again) is cls
    assert str(again) == "what happened"
    assert {name: getattr(again, name) for name in COMMON} == COMMON


def test_notes_survive(remake: Remake) -> None:
    """Notes added to an error go through pickle and copy."""
    error = make_filled_error(ConnectError)
    error.add_note("on the way to the gym")
    assert remake(error).__notes__ == ["on the way to the gym"]


def test_outcome_unknown_survives(remake: Remake) -> None:
    """OutcomeUnknownError keeps its times and the last error, with that one's attributes."""
    first = dt.datetime(2026, 5, 20, 7, 0, tzinfo=dt.UTC)
    times = {"first_sent_at": first, "window_closes_at": first + dt.timedelta(seconds=90)}
    last = make_filled_error(errors.ServerError, status=500, type="api_error")
    again = remake(make_filled_error(OutcomeUnknownError, may_repeat=True, last_error=last, **times))
    assert isinstance(again, OutcomeUnknownError)
    assert {"first_sent_at": again.first_sent_at, "window_closes_at": again.window_closes_at} == times
    assert again.may_repeat is True
    assert type(again.last_error) is errors.ServerError
    assert vars(again.last_error) == vars(last)


def test_decode_error_survives(remake: Remake) -> None:
    """DecodeError keeps problems, status, raw body and whether the server executed the request."""
    error = DecodeError("unreadable", ["$.price: expected a number, got null", "$.id: expected text, got 5"])
    error.executed, error.status, error.body = True, 201, b'{"id":5}'
    again = remake(error)
    assert isinstance(again, DecodeError)
    assert str(again) == "unreadable"
    assert again.problems == ["$.price: expected a number, got null", "$.id: expected text, got 5"]
    assert (again.executed, again.status, again.body) == (True, 201, b'{"id":5}')


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, APIError)])
def test_api_error_survives(cls: type[APIError], remake: Remake) -> None:
    """Every API error keeps what the server sent."""
    said = {"status": 409, "type": "t", "code": "c", "message": "m", "replayed": True}
    again = remake(make_filled_error(cls, **said))
    assert {name: getattr(again, name) for name in said} == said


def test_resource_conflict_survives(remake: Remake) -> None:
    """ResourceConflictError keeps whether an earlier attempt may have caused it."""
    again = remake(make_filled_error(errors.ResourceConflictError, sent_before=True))
    assert isinstance(again, errors.ResourceConflictError)
    assert again.sent_before is True


def test_problems_are_a_list_of_its_own() -> None:
    """DecodeError copies the problems that it is given."""
    problems = ("$: expected an object, got []",)
    assert DecodeError("unreadable", problems).problems == list(problems)
    assert DecodeError().problems == []


def test_docstrings() -> None:
    """Every class tells the caller what to do."""
    assert [cls for cls in CLASSES if not cls.__doc__] == []
