"""Values to bytes and back: path segments, query values, ``Retry-After``, and the error of a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bardge_async import WireResponse, errors
from bardge_async import endpoints as e
from bardge_async import models as m
from bardge_async._core import response as wire
from bardge_async._core.http import check_token
from bardge_async._core.keys import check_key
from bardge_async._core.request import encode_query, encode_segment, fill_path
from bardge_async._core.response import Verdict
from bardge_async.errors import APIError, InvalidArgumentError
from tests.support.answers import OBJECTS, ORIGIN, PAGES, WALL, classify_attempt, make_response

ROW = e.PURCHASE_CREDITS


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("client_abc123", "client_abc123"),
        ("a/b", "a%2Fb"),
        ("a?b#c%d", "a%3Fb%23c%25d"),
        ("a b", "a%20b"),
        ("Adébáyọ̀", "Ad%C3%A9b%C3%A1y%E1%BB%8D%CC%80"),
        ("...", "..."),
        ("%2e%2e", "%252e%252e"),
        ("{x}", "%7Bx%7D"),
    ],
)
def test_segment(given_text: str, expected: str) -> None:
    """A path argument is sent as one percent-encoded UTF-8 segment."""
    assert encode_segment("id", given_text) == expected


@pytest.mark.parametrize("text", ["", ".", "..", "a\nb", "a\x00", "\x7f", "\x85", "\ud800", None, 7, b"x"])
def test_refused_segment(text: Any) -> None:
    """Empty text, dots, control characters and non-text are rejected, naming the argument."""
    with pytest.raises(InvalidArgumentError, match="client_id"):
        encode_segment("client_id", text)


@pytest.mark.parametrize("arguments", [(), ("a", "b")])
def test_number_of_path_arguments(arguments: tuple[str, ...]) -> None:
    """Too few or too many path arguments are rejected, naming those of the path."""
    with pytest.raises(InvalidArgumentError, match="client_id"):
        fill_path(e.GET_CLIENT, e.GET_CLIENT.path, arguments)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ""),
        ({"a": None}, ""),
        ({"limit": 5, "lat": 6.5, "q": "a&b=c d/é"}, "?limit=5&lat=6.5&q=a%26b%3Dc%20d%2F%C3%A9"),
    ],
)
def test_query_string(values: Mapping[str, object], expected: str) -> None:
    """Query values are percent-encoded, and None is left out."""
    assert encode_query(values) == expected


@pytest.mark.parametrize("value", [True, [1], b"x", "\ud800", float("nan"), float("inf")])
def test_refused_query_value(value: object) -> None:
    """A query value that cannot be sent is rejected by its name."""
    with pytest.raises(InvalidArgumentError, match="lat"):
        encode_query({"lat": value})


@pytest.mark.parametrize("values", [[("a", 1)], "a=1", {5: "a"}, {"\ud800": 1}])
def test_refused_query(values: Any) -> None:
    """A query that is no mapping of names is rejected."""
    with pytest.raises(InvalidArgumentError):
        encode_query(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("Thu, 28 May 2026 20:40:50 GMT", 850),
        ("Thu, 28 May 2026 20:40:50 -0000", 850),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999", None),
    ],
)
def test_retry_after(text: str, expected: float | None) -> None:
    """``Retry-After`` is seconds or a date; an invalid one counts as missing."""
    assert wire.parse_retry_after({"Retry-After": text}, WALL) == expected


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d+ Jan \d+ \d+:\d+:\d+ [+-]?\d+"))
def test_retry_after_never_raises(text: str) -> None:
    """No header value can break a call."""
    found = wire.parse_retry_after({"Retry-After": text}, WALL)
    assert found is None or found >= 0


CLASSES = {
    "400": errors.InvalidRequestError,
    "401": errors.AuthenticationError,
    "403": errors.PermissionDeniedError,
    "404": errors.NotFoundError,
    "409 conflict": errors.ResourceConflictError,
    "409 reused": errors.IdempotencyKeyReusedError,
    "429": errors.RateLimitError,
    "500": errors.ServerError,
    "503": errors.ServerError,
}


@pytest.mark.parametrize("name", CLASSES)
def test_error_object(name: str) -> None:
    """A response with the API's error object is the error of its status, with the object's message."""
    error = classify_attempt(ROW, name).error
    assert isinstance(error, APIError)
    assert type(error) is CLASSES[name]
    assert (error.status, error.type, error.code, error.message) == (*OBJECTS[name], "no")


@pytest.mark.parametrize("status", [405, 410, 413, 415, 418, 451])
def test_other_statuses(status: int) -> None:
    """A 4xx that the vendor does not document is a plain APIError of its status."""
    error = wire.classify(ROW, WireResponse(status, CIMultiDict(), b""), WALL, ORIGIN).error
    assert (type(error), getattr(error, "status", None)) == (APIError, status)


def test_conflict_of_another_type() -> None:
    """A 409 with an unknown type is a ConflictError and neither of its kinds."""
    body = b'{"error": {"type": "new_error", "message": "m"}}'
    assert type(wire.classify(ROW, WireResponse(409, CIMultiDict(), body), WALL, ORIGIN).error) is errors.ConflictError


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("4")])
def test_page_instead_of_the_api(name: str) -> None:
    """A 4xx without the error object has no type and code, and its message names base URL and proxy."""
    error = classify_attempt(ROW, name).error
    assert isinstance(error, APIError)
    assert (error.type, error.code, error.message) == (None, None, "")
    assert ORIGIN in str(error)
    assert "proxy" in str(error)


@pytest.mark.parametrize(
    "body", [b'{"error": null}', b'{"error": "no"}', b'{"error": {}}', b'{"error": []}', b'[{"error": {}}]', b"null"]
)
def test_what_is_no_error_object(body: bytes) -> None:
    """Only an object under ``error`` with some content is the API's error object."""
    error = wire.classify(ROW, WireResponse(400, CIMultiDict(), body), WALL, ORIGIN).error
    assert ORIGIN in str(error)


def test_odd_words_in_an_error_object() -> None:
    """Error members of another type than text are left out, and raise nothing."""
    body = b'{"error": {"type": 1, "code": ["x"], "message": {}, "request_id": 5}}'
    error = wire.classify(ROW, WireResponse(400, CIMultiDict(), body), WALL, ORIGIN).error
    assert isinstance(error, APIError)
    assert (error.type, error.code, error.message, error.request_id) == (None, None, "", None)


def test_request_id_of_the_body() -> None:
    """Without the header the error object's own request id is taken."""
    answer = make_response("400")
    answer = WireResponse(400, CIMultiDict(), answer.body)
    error = wire.classify(ROW, answer, WALL, ORIGIN).error
    assert error is not None
    assert error.request_id == "req_body"


def test_error_object_with_success() -> None:
    """A 2xx with an error object is no usable response."""
    body = make_response("400").body
    assert wire.classify(ROW, WireResponse(200, CIMultiDict(), body), WALL, ORIGIN).verdict is Verdict.NO_ANSWER


@pytest.mark.parametrize(("row", "executed"), [(e.PURCHASE_CREDITS, True), (e.GET_CLIENT, False)])
def test_unreadable_success(row: e.Endpoint[Any, Any], executed: bool) -> None:
    """A response that contradicts the page keeps status, body and request id, and says whether it was executed."""
    answer = WireResponse(201, CIMultiDict({"Bardge-Request-Id": "req_7"}), b"[1]")
    error = wire.classify(row, answer, WALL, ORIGIN).error
    assert isinstance(error, errors.DecodeError)
    assert (error.status, error.body, error.executed, error.request_id) == (201, b"[1]", executed, "req_7")
    assert error.problems
    assert all(text.startswith("$") for text in error.problems)


@pytest.mark.parametrize("body", [b'[{"id": "cat_1"}]', b'{"data": [{"id": "cat_1"}], "has_more": false}'])
def test_plain_list_is_a_page(body: bytes) -> None:
    """Where the notes leave it open, a bare list is one page like any other, with its request id."""
    answer = WireResponse(200, CIMultiDict({"Bardge-Request-Id": "req_7"}), body)
    page = wire.classify(e.LIST_CLASS_CATEGORIES, answer, WALL, ORIGIN).value
    assert (page.items, page.has_more, page.request_id) == ((m.ClassCategory(id="cat_1"),), False, "req_7")


def test_all_problems_at_once() -> None:
    """Each fault of a response has a text with its path."""
    body = b'{"balance": "abc", "transactions": [{"amount": "5"}, {"timestamp": []}]}'
    error = wire.classify(e.GET_CLIENT_CREDITS, WireResponse(200, CIMultiDict(), body), WALL, ORIGIN).error
    assert isinstance(error, errors.DecodeError)
    paths = [text.partition(":")[0] for text in error.problems]
    assert paths == ["$.balance", "$.transactions[0].amount", "$.transactions[1].timestamp"]


@pytest.mark.parametrize("key", ["a", "order-8731", "a b", "~!", "x" * 255])
def test_good_key(key: str) -> None:
    """Keys of 1-255 visible ASCII characters are accepted unchanged."""
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", " ", " a", "a ", "a\n", "a\tb", "é", "x" * 256, "a\x7f", None, 7, b"a"])
def test_refused_key(key: object) -> None:
    """Any other key is rejected."""
    with pytest.raises(InvalidArgumentError, match="idempotency key"):
        check_key(key)


@pytest.mark.parametrize("token", ["", "a\r\nX-Evil: 1", "a\x00", " a", "a\n", "é", 7])
def test_refused_token(token: object) -> None:
    """A lookup token that could not be sent unchanged is rejected, and not shown."""
    with pytest.raises(InvalidArgumentError, match="lookup_token") as caught:
        check_token(token)
    assert "Evil" not in str(caught.value)
