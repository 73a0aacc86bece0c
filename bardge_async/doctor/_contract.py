"""Examine every GET row that can be called, with ids taken from earlier answers. Nothing is ever written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import attrs

from bardge_async import BardgeClient
from bardge_async._core.request import fill_path
from bardge_async.doctor._fields import FieldSurvey
from bardge_async.doctor._findings import PATH_MISSING, RowFinding, RowStatus
from bardge_async.doctor._paging import WHOLE_PAGE, find_broken_rules, find_near, read_id, read_items, read_list
from bardge_async.endpoints import ENDPOINTS, Endpoint
from bardge_async.errors import APIError, BardgeError, NotFoundError
from bardge_async.models import Page

_MAX_IDS: Final = 5
"""How many ids are tried, such as gyms asked for co-pay options, until one has some."""
_MAX_ITEMS: Final = 1000
"""How many items of a list are looked at: far more than a page may have."""
_MAX_TIMEOUTS: Final = 2
"""After so many endpoints that do not answer in time, the others are not asked: each would take as long."""
_METHOD_NOT_ALLOWED: Final = 405
_TOO_MANY_REQUESTS: Final = 429
_NO_CLIENT: Final = "give --client"
_WITHOUT_ISSUED: Final = "the client holds no pass"
# Where the id of a path comes from: parameter, the row whose answers hold it.
_SOURCES: Final = {
    "pass_id": "passes.list",
    "class_id": "classes.list",
    "provider_branch_id": "providers.list",
    "booking_id": "bookings.list_for_client",
}


class ContractExaminer:
    """Examine the GET rows with one client; ``hide`` removes its API key from text."""

    def __init__(self, client: BardgeClient, client_id: str | None, hide: Callable[[str], str]) -> None:
        self._client = client
        self._paths = client._caller.request_builder.paths  # noqa: SLF001 - of this package
        self._client_id = client_id
        self._hide = hide
        self._items: dict[str, list[dict[str, Any]]] = {}
        self._timeouts = 0
        self._gave_up: str | None = None

    async def examine_rows(self) -> tuple[RowFinding, ...]:
        """Examine the rows, those that ids come from first; return the findings in the order of the table."""
        rows = [endpoint for endpoint in ENDPOINTS.values() if endpoint.method == "GET"]
        found: dict[str, RowFinding] = {}
        for endpoint in sorted(rows, key=_rank):
            found[endpoint.name] = await self._examine_row(endpoint)
        return _excuse_unknown_client(tuple(found[endpoint.name] for endpoint in rows))

    async def _examine_row(self, endpoint: Endpoint[Any, Any]) -> RowFinding:
        candidates = self._gave_up or self._find_ids(endpoint)
        blank = RowFinding(endpoint.name, self._template(endpoint), endpoint.mark, RowStatus.NOT_EXAMINED)
        if isinstance(candidates, str):
            return attrs.evolve(blank, reason=candidates)
        try:
            return await self._survey_row(endpoint, candidates, blank)
        except APIError as error:
            if error.status == _TOO_MANY_REQUESTS:
                self._gave_up = "the server limits the rate (429)"
            return _judge_refusal(endpoint, blank, error)
        except BardgeError as error:
            self._timeouts += error.timed_out
            if self._timeouts >= _MAX_TIMEOUTS:
                self._gave_up = "the server no longer answers in time"
            return attrs.evolve(blank, reason=f"no usable answer ({type(error).__name__})")

    async def _survey_row(
        self, endpoint: Endpoint[Any, Any], candidates: Sequence[tuple[str, ...]], blank: RowFinding
    ) -> RowFinding:
        ids, answer = candidates[0], cast("object", None)
        for ids in candidates:
            answer = await self._get(endpoint, ids, limit=WHOLE_PAGE if endpoint.paginated else None)
            if read_items(answer) or not endpoint.paginated:
                break
        is_object, kind = _is_kind(answer, dict), list if endpoint.bare_list else dict
        if not is_object and not _is_kind(answer, kind):
            return attrs.evolve(blank, status=RowStatus.CONTRADICTED, reason="the answer is no JSON object")
        survey = FieldSurvey(self._hide)
        if endpoint.item is None:
            survey.add(endpoint.response, answer)
            return attrs.evolve(blank, status=RowStatus.EXAMINED, fields=survey.findings())
        if is_object:
            survey.add(Page, answer)
        self._items[endpoint.name] = read_items(answer)
        survey.add_items(endpoint.item, read_list(answer)[:_MAX_ITEMS], "data[]")
        ask = functools.partial(self._get, endpoint, ids)
        near, paging = await find_near(ask) if endpoint.query else ([], ())
        survey.add_items(endpoint.item, near[:_MAX_ITEMS], "data[]")
        if is_object:
            paging = (*paging, *await find_broken_rules(ask, endpoint.cursor, answer))
        return attrs.evolve(blank, status=RowStatus.EXAMINED, fields=survey.findings(), paging=paging)

    async def _get(self, endpoint: Endpoint[Any, Any], ids: tuple[str, ...], **query: str | float | None) -> object:
        path = fill_path(endpoint, self._template(endpoint), ids)
        return (await self._client.request("GET", path, query=query)).value

    def _template(self, endpoint: Endpoint[Any, Any]) -> str:
        return self._paths.get(endpoint.name, endpoint.path)

    def _find_ids(self, endpoint: Endpoint[Any, Any]) -> list[tuple[str, ...]] | str:
        """Return path arguments to try, or why there are none."""
        if not endpoint.path_parameters:
            return [()]
        (parameter,) = endpoint.path_parameters
        if parameter == "client_id":
            return _NO_CLIENT if self._client_id is None else [(self._client_id,)]
        source = _SOURCES[parameter]
        if source == "bookings.list_for_client" and self._client_id is None:
            return _NO_CLIENT
        items = self._items.get(source, [])
        if source == "providers.list":
            gyms = [item for item in items if str(_read_text(item, "category") or "GYM").upper() == "GYM"]
            items = sorted(gyms or items, key=lambda item: item.get("copay_available") is not True)
        ids: list[tuple[str, ...]] = [(id,) for item in items if (id := read_id(item, "id")) is not None]
        return ids[:_MAX_IDS] if ids else f"no id: {source} returned none"


def _is_kind(answer: object, kind: type[object]) -> bool:
    return isinstance(answer, kind)


def _read_text(item: dict[str, Any], name: str) -> str | None:
    value = item.get(name)
    return value if isinstance(value, str) else None


def _rank(endpoint: Endpoint[Any, Any]) -> int:
    sources = list(_SOURCES.values())
    return sources.index(endpoint.name) if endpoint.name in sources else len(sources)


def _judge_refusal(endpoint: Endpoint[Any, Any], blank: RowFinding, error: APIError) -> RowFinding:
    """Judge an error answer: the ids are known to exist, so a 404 speaks against the path."""
    if error.code == "pass_not_found" and _is_of_client(endpoint):
        return attrs.evolve(blank, reason=_WITHOUT_ISSUED)
    if isinstance(error, NotFoundError) or error.status == _METHOD_NOT_ALLOWED:
        return attrs.evolve(blank, status=RowStatus.CONTRADICTED, reason=f"{PATH_MISSING} ({error.status})")
    return attrs.evolve(blank, reason=f"the server answered {error.status}")


def _is_of_client(endpoint: Endpoint[Any, Any]) -> bool:
    return "client_id" in endpoint.path_parameters


def _excuse_unknown_client(rows: tuple[RowFinding, ...]) -> tuple[RowFinding, ...]:
    """Where all rows of the client are missing, it is the client that does not exist, not their paths."""
    own = [row for row in rows if _is_of_client(ENDPOINTS[row.endpoint])]
    if not all(row.path_missing or row.reason == _WITHOUT_ISSUED for row in own):
        return rows
    return tuple(row.excuse("the client does not exist") if row in own else row for row in rows)
