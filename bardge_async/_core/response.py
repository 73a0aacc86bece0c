"""Classify a response: the value of its class, or an error."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from bardge_async import errors
from bardge_async._core.converter import parse_json, structure_value
from bardge_async._core.drift import NOTED, DriftNote, take_drift
from bardge_async._core.factories import compile_factory
from bardge_async._core.http import REPLAYED_HEADER, REQUEST_ID_HEADER, WireResponse, escape_text, escape_unprintable
from bardge_async._core.json_reader import NestingError, parse_json_exact
from bardge_async._core.scalars import StructureError
from bardge_async._core.server_clock import parse_http_date
from bardge_async.endpoints import Endpoint
from bardge_async.errors import APIError, BardgeError, DecodeError, NoAnswerError

_SECONDS: Final = re.compile(r"\d+(\.\d+)?")
_MAX_PROBLEMS_SHOWN: Final = 20
_NO_CONTENT: Final = 204


class Verdict(enum.Enum):
    """The outcome of one attempt, by what it says about the operation."""

    DONE = enum.auto()
    UNREADABLE = enum.auto()
    """Done, but the response contradicts the vendor's page."""
    NOT_SENT = enum.auto()
    """Certain: nothing reached the server."""
    NO_ANSWER = enum.auto()
    """Sent, no usable response."""
    REFUSED = enum.auto()
    """The API refused the operation: 400, 404, 409 or 422 with its error object."""
    REFUSED_UNSETTLED = enum.auto()
    """Any other refusal: it says nothing about earlier attempts."""
    BUSY = enum.auto()
    """429: not executed."""
    FAULT = enum.auto()
    """A 5xx that does not come from in between: the server started on the request and failed."""
    CACHED_FAULT = enum.auto()
    """The same, replayed from the server's cache."""
    STILL_RUNNING = enum.auto()
    """A 409: an earlier request with this key is still in flight (undocumented)."""

    @property
    def settles(self) -> bool:
        """Return whether it settles the key's whole history: earlier attempts without a response, too."""
        return self is Verdict.DONE or self is Verdict.REFUSED or self is Verdict.UNREADABLE


@attrs.frozen(weakref_slot=False)
class Outcome:
    """The outcome of an attempt, with its value, or the error that a GET would raise."""

    verdict: Verdict
    value: Any = None
    error: BardgeError | None = None
    replayed: bool = False
    drift: tuple[DriftNote, ...] = ()
    """Fields that the models do not expect."""

    @property
    def retry_after(self) -> float | None:
        """Return the seconds for which the server, or a limiter, asked to wait."""
        return None if self.error is None else self.error.retry_after

    @property
    def timed_out(self) -> bool:
        """Return whether the attempt ended because a time limit passed."""
        return self.error is not None and self.error.timed_out


make_outcome: Final = compile_factory(Outcome)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return ``Retry-After`` in seconds; None if it is missing or invalid. ``now`` is the Unix time without a ``Date``."""
    text = headers.get("Retry-After")
    if text is None:
        return None
    if _SECONDS.fullmatch(text.strip()):
        return float(text)
    date, sent_at = parse_http_date(text), parse_http_date(headers.get("Date", ""))
    # Read against the same server's clock, if its answer tells it.
    return None if date is None else max(0.0, date - (now if sent_at is None else sent_at))


def classify(endpoint: Endpoint[Any, Any], response: WireResponse, now: float, origin: str) -> Outcome:
    """Return what a response means; ``origin`` is the base URL, for the message about a response not from the API."""
    status = response.status
    if 200 <= status < 300:  # noqa: PLR2004 - the HTTP classes
        return _classify_success(endpoint, response)
    wait = parse_retry_after(response.headers, now)
    if 400 <= status < 600:  # noqa: PLR2004
        return _classify_failure(endpoint, response, wait, origin)
    return _build_unusable(endpoint, response, f"a redirect or unknown status {status}", wait)


def classify_broken(endpoint: Endpoint[Any, Any], error: NoAnswerError) -> Outcome:
    """Return what a response means that broke off: a 500 is the handler's failure, whatever there is of its body."""
    status = error.status
    if status is None or not 500 <= status < 600 or status in _PROXY_STATUSES:  # noqa: PLR2004 - the HTTP classes
        return Outcome(Verdict.NO_ANSWER, error=error)
    failure = errors.ServerError(f"{endpoint.name}: {status}, the server failed on the request: {error}")
    failure.status, failure.timed_out, failure.request_id = status, error.timed_out, error.request_id
    return Outcome(Verdict.FAULT, error=failure)


def _build_unusable(
    endpoint: Endpoint[Any, Any], response: WireResponse, reason: str, wait: float | None = None
) -> Outcome:
    error = NoAnswerError(f"{endpoint.name}: no usable response: {reason}")
    error.request_id, error.retry_after = response.headers.get(REQUEST_ID_HEADER), wait
    cached = response.status >= 500 and _is_replayed(response)  # noqa: PLR2004 - the HTTP classes
    return Outcome(Verdict.CACHED_FAULT if cached else Verdict.NO_ANSWER, error=error)


def _is_replayed(response: WireResponse) -> bool:
    mark = response.headers.get(REPLAYED_HEADER)
    return mark is not None and mark.strip().lower() == "true"


def _classify_success(endpoint: Endpoint[Any, Any], response: WireResponse) -> Outcome:
    if endpoint.response is object and _has_no_content(response):
        return Outcome(Verdict.DONE, None, replayed=_is_replayed(response))
    try:
        parsed = parse_json_exact(response.body) if endpoint.response is object else parse_json(response.body)
    except NestingError as fault:
        return _build_unreadable(endpoint, response, [f"$: {fault}"])
    except ValueError:
        kind = response.headers.get("Content-Type", "no content type")
        return _build_unusable(
            endpoint, response, f"status {response.status} with a body that is not JSON ({kind:.60})"
        )
    # A 2xx with an error object is no success, and no proof of a refusal either: the outcome stays unknown.
    if _find_error_object(parsed):
        return _build_unusable(endpoint, response, f"status {response.status} with an error object")
    try:
        value = _structure_value(endpoint, parsed, response)
        return make_outcome(Verdict.DONE, value, None, _is_replayed(response), take_drift() if NOTED else ())
    except StructureError as fault:
        take_drift()
        return _build_unreadable(endpoint, response, ["$" + path + ": " + text for path, text in fault.mismatches])


def _has_no_content(response: WireResponse) -> bool:
    # A result class promises content, plain JSON does not. The others would be odd without any: 206 is a part of it.
    return response.status == _NO_CONTENT or (response.status in {200, 201, 202} and not response.body.strip())


def _build_unreadable(endpoint: Endpoint[Any, Any], response: WireResponse, problems: list[str]) -> Outcome:
    shown = "; ".join(problems[:_MAX_PROBLEMS_SHOWN])
    rest = len(problems) - _MAX_PROBLEMS_SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    error = DecodeError(f"{endpoint.name}: the response contradicts the vendor's page: {shown}{more}", problems)
    error.status, error.body = response.status, response.body
    error.executed = endpoint.method != "GET"
    error.request_id = response.headers.get(REQUEST_ID_HEADER)
    return Outcome(Verdict.UNREADABLE, error=error, replayed=_is_replayed(response))


def _structure_value(endpoint: Endpoint[Any, Any], parsed: object, response: WireResponse) -> Any:  # noqa: ANN401
    body, cls = response.body, endpoint.response
    if cls is object:
        return parsed
    if endpoint.bare_list and isinstance(parsed, list):
        body = b'{"data":' + body + b',"has_more":false}'
        parsed = {"data": cast("list[object]", parsed), "has_more": False}
    value: Any = structure_value(parsed, body, cls)
    if type(cls) is not type and endpoint.paginated:
        # Frozen, but not shared yet; a copy would take as long as reading ten items.
        object.__setattr__(value, "request_id", response.headers.get(REQUEST_ID_HEADER))
    return value


def _find_error_object(parsed: object) -> dict[str, object] | None:
    """Return the API's error object, or None."""
    if not isinstance(parsed, dict):
        return None
    found = cast("dict[str, object]", parsed).get("error")
    return cast("dict[str, object]", found) if isinstance(found, dict) and found else None


def _classify_failure(endpoint: Endpoint[Any, Any], response: WireResponse, wait: float | None, origin: str) -> Outcome:
    try:
        detail = _find_error_object(parse_json(response.body))
    except ValueError:
        detail = None
    status = response.status
    if status in _PROXY_STATUSES and detail is None:
        return _build_unusable(endpoint, response, f"status {status} without the API's error object", wait)
    error = _build_api_error(endpoint, response, detail or {}, origin)
    error.retry_after = wait
    return Outcome(
        _classify_error(error, has_error_object=detail is not None),
        error=error,
        replayed=error.replayed,
    )


# Without the API's error object these come from in between (520 to 530 are Cloudflare's): the request may have reached
# the server. Every other 5xx is the failure of the server's own handler, whatever its body.
_PROXY_STATUSES: Final = frozenset({502, 503, 504, *range(520, 531)})
# Servers and proxies send these before a request is handled.
_INTERMEDIARY_STATUSES: Final = frozenset({408, 425})
_REFUSAL_STATUSES: Final = frozenset({400, 404, 409, 422})


def _classify_error(error: APIError, *, has_error_object: bool) -> Verdict:
    if error.status == 429:  # noqa: PLR2004
        return Verdict.BUSY
    if error.status in _INTERMEDIARY_STATUSES:
        return Verdict.CACHED_FAULT if error.replayed else Verdict.NO_ANSWER
    if error.status >= 500:  # noqa: PLR2004
        return Verdict.CACHED_FAULT if error.replayed else Verdict.FAULT
    if error.type == "idempotency_error" and not isinstance(error, errors.IdempotencyKeyReusedError):
        return Verdict.STILL_RUNNING
    return Verdict.REFUSED if has_error_object and error.status in _REFUSAL_STATUSES else Verdict.REFUSED_UNSETTLED


_BY_STATUS: Final[Mapping[int, type[APIError]]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.InvalidRequestError,
    429: errors.RateLimitError,
}


def _select_error_class(status: int, kind: str | None, code: str | None) -> type[APIError]:
    if status == 409 and kind == "idempotency_error" and code == "idempotency_key_reused":  # noqa: PLR2004
        return errors.IdempotencyKeyReusedError
    if status == 409 and kind == "resource_conflict_error":  # noqa: PLR2004
        return errors.ResourceConflictError
    if status >= 500:  # noqa: PLR2004
        return errors.ServerError
    return _BY_STATUS.get(status, APIError)


def _get_text(detail: Mapping[str, object], name: str) -> str | None:
    value = detail.get(name)
    return escape_unprintable(value) if type(value) is str else None


def _get_request_id(detail: Mapping[str, object]) -> str | None:
    value = detail.get("request_id")
    return escape_text(value) if type(value) is str else None


def _build_api_error(
    endpoint: Endpoint[Any, Any], response: WireResponse, detail: Mapping[str, object], origin: str
) -> APIError:
    kind, code = _get_text(detail, "type"), _get_text(detail, "code")
    message = _get_text(detail, "message") or ""
    if detail:
        text = f"{endpoint.name}: {response.status} {code or kind or 'error'}: {message}"
    elif response.status >= 500:  # noqa: PLR2004
        text = f"{endpoint.name}: {response.status} without the API's error object: the server failed on the request"
    else:
        text = (
            f"{endpoint.name}: {response.status} without the API's error object: the response is not from the API; "
            f"check the base URL {origin} and any proxy in between"
        )
    error = _select_error_class(response.status, kind, code)(text)
    error.status, error.type, error.code, error.message = response.status, kind, code, message
    error.request_id = response.headers.get(REQUEST_ID_HEADER) or _get_request_id(detail)
    error.replayed = _is_replayed(response)
    return error
