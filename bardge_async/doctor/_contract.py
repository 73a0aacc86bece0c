"""Examine every GET row that can be called, with ids taken from earlier answers. Nothing is ever written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import attrs

from bardge_async import BardgeClient
from bardge_async._core.request import fill_path
from bardge_async.doctor._fields import FieldSurvey
from bardge_async.doctor._findings import PATH_MISSING, RowFinding, RowStatus
from bardge_async.endpoints import ENDPOINTS, Endpoint
from bardge_async.errors import APIError, BardgeError, NotFoundError
from bardge_async.models import Page

_WHOLE_PAGE: Final = 100
_SHORT_PAGE: Final = 2
_LAGOS: Final = {"lat": 6.45, "lon": 3.4}
_MAX_GYMS: Final = 5
"""How many gyms are asked for co-pay options, until one has some."""
_METHOD_NOT_ALLOWED: Final = 405
_NO_CLIENT: Final = "give --client"
# Where the id of a path comes from: parameter, the row whose answers hold it.
_SOURCES: Final = {
    "pass_id": "passes.list",
    "class_id": "classes.list",
    "provider_branch_id": "providers.list",
    "booking_id": "bookings.list_for_client",
}


class ContractExaminer:
    """Examine the GET rows of one client; ``answered`` says whether any row did."""

    def __init__(self, client: BardgeClient, client_id: str | None) -> None:
        self._client = client
        self._paths = client._caller.request_builder.paths  # noqa: SLF001 - of this package
        self._client_id = client_id
        self._items: dict[str, list[dict[str, Any]]] = {}

    async def examine_rows(self) -> tuple[RowFinding, ...]:
        """Examine the rows, those that ids come from first; return the findings in the order of the table."""
        rows = [endpoint for endpoint in ENDPOINTS.values() if endpoint.method == "GET"]
        found: dict[str, RowFinding] = {}
        for endpoint in sorted(rows, key=_rank):
            found[endpoint.name] = await self._examine_row(endpoint)
        return _excuse_unknown_client(tuple(found[endpoint.name] for endpoint in rows))

    async def _examine_row(self, endpoint: Endpoint[Any, Any]) -> RowFinding:
        candidates = self._find_ids(endpoint)
        blank = RowFinding(endpoint.name, self._template(endpoint), endpoint.mark, RowStatus.NOT_EXAMINED)
        if isinstance(candidates, str):
            return attrs.evolve(blank, reason=candidates)
        try:
            return await self._survey_row(endpoint, candidates, blank)
        except APIError as error:
            return _judge_refusal(blank, error)
        except BardgeError as error:
            return attrs.evolve(blank, reason=f"no usable answer ({type(error).__name__})")

    async def _survey_row(
        self, endpoint: Endpoint[Any, Any], candidates: Sequence[tuple[str, ...]], blank: RowFinding
    ) -> RowFinding:
        survey, paging = FieldSurvey(), tuple[str, ...]()
        answer: object = None
        for ids in candidates:
            answer = await self._get(endpoint, ids, limit=_WHOLE_PAGE if endpoint.paginated else None)
            items = _read_items(answer)
            if items or not endpoint.paginated:
                break
        if not isinstance(answer, dict | list):
            kind = "array" if endpoint.bare_list else "object"
            return attrs.evolve(blank, status=RowStatus.CONTRADICTED, reason=f"the answer is no JSON {kind}")
        if endpoint.item is None:
            survey.add(endpoint.response, answer)
            return attrs.evolve(blank, status=RowStatus.EXAMINED, fields=survey.findings())
        items = _read_items(answer)
        if isinstance(answer, dict):
            survey.add(Page, answer)
        self._items[endpoint.name] = items
        for item in items:
            survey.add(endpoint.item, item, "data[].")
        if endpoint.query:
            near = _read_items(await self._get(endpoint, ids, limit=_WHOLE_PAGE, **_LAGOS))
            for item in near:
                survey.add(endpoint.item, item, "data[].")
            paging = _check_nearest_first(near)
        if isinstance(answer, dict):
            paging = (*paging, *_check_newest_first(items), *await self._check_paging(endpoint, ids, items))
        return attrs.evolve(blank, status=RowStatus.EXAMINED, fields=survey.findings(), paging=paging)

    async def _check_paging(
        self, endpoint: Endpoint[Any, Any], ids: tuple[str, ...], items: list[dict[str, Any]]
    ) -> tuple[str, ...]:
        """Ask for two short pages and compare them with the long one; once more if the list may have changed."""
        cursors = [_read_cursor(item, endpoint.cursor) for item in items]
        if len(items) < _SHORT_PAGE or None in cursors:
            return ()
        broken = await self._compare_pages(endpoint, ids, cursors)
        return broken and await self._compare_pages(endpoint, ids, None)

    async def _compare_pages(
        self, endpoint: Endpoint[Any, Any], ids: tuple[str, ...], cursors: list[str | None] | None
    ) -> tuple[str, ...]:
        if cursors is None:
            cursors = await self._read_cursors(endpoint, ids, limit=_WHOLE_PAGE)
        short = await self._read_cursors(endpoint, ids, limit=_SHORT_PAGE)
        following = await self._read_cursors(endpoint, ids, limit=_SHORT_PAGE, starting_after=cursors[0])
        broken: list[str] = []
        if len(short) > _SHORT_PAGE:
            broken.append(f"limit={_SHORT_PAGE} returned {len(short)} items")
        elif short != cursors[:_SHORT_PAGE]:
            broken.append(f"limit={_SHORT_PAGE} does not return the first items of the list")
        if following != cursors[1 : 1 + _SHORT_PAGE]:
            broken.append("starting_after does not return the items after the cursor")
        return tuple(broken)

    async def _read_cursors(
        self, endpoint: Endpoint[Any, Any], ids: tuple[str, ...], **query: str | float | None
    ) -> list[str | None]:
        return [_read_cursor(item, endpoint.cursor) for item in _read_items(await self._get(endpoint, ids, **query))]

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
            gyms = [item for item in items if str(item.get("category", "GYM")).upper() == "GYM"]
            items = sorted(gyms or items, key=lambda item: item.get("copay_available") is not True)[:_MAX_GYMS]
        ids: list[tuple[str, ...]] = [(cursor,) for item in items if (cursor := _read_cursor(item, "id")) is not None]
        return ids[:_MAX_GYMS] if ids else f"no id: {source} returned none"


def _rank(endpoint: Endpoint[Any, Any]) -> int:
    sources = list(_SOURCES.values())
    return sources.index(endpoint.name) if endpoint.name in sources else len(sources)


def _read_items(answer: object) -> list[dict[str, Any]]:
    data: object = cast("dict[str, Any]", answer).get("data") if isinstance(answer, dict) else answer
    items = cast("list[object]", data) if isinstance(data, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def _read_cursor(item: dict[str, Any], name: str) -> str | None:
    value = item.get(name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _check_newest_first(items: list[dict[str, Any]]) -> tuple[str, ...]:
    times = [item.get("created") for item in items]
    if len(times) < _SHORT_PAGE or not all(isinstance(time, int) for time in times):
        return ()
    known = cast("list[int]", times)
    return () if known == sorted(known, reverse=True) else ("the list is not newest first",)


def _check_nearest_first(items: list[dict[str, Any]]) -> tuple[str, ...]:
    distances: list[Any] = [item.get("distance") for item in items]
    if len(distances) < _SHORT_PAGE or any(isinstance(d, str | bool | None | list | dict) for d in distances):
        return ()
    return () if distances == sorted(distances) else ("with lat and lon, the list is not nearest first",)


def _judge_refusal(blank: RowFinding, error: APIError) -> RowFinding:
    """Judge an error answer: the ids are known to exist, so a 404 speaks against the path."""
    if error.code == "pass_not_found":
        return attrs.evolve(blank, reason="the client holds no pass")
    if isinstance(error, NotFoundError) or error.status == _METHOD_NOT_ALLOWED:
        return attrs.evolve(blank, status=RowStatus.CONTRADICTED, reason=f"{PATH_MISSING} ({error.status})")
    return attrs.evolve(blank, reason=f"the server answered {error.status}")


def _excuse_unknown_client(rows: tuple[RowFinding, ...]) -> tuple[RowFinding, ...]:
    """Where all rows of the client are missing, it is the client that does not exist, not their paths."""
    own = [row for row in rows if "{client_id}" in row.path]
    if not all(row.reason is not None and row.reason.startswith((PATH_MISSING, "the client holds")) for row in own):
        return rows
    unknown = "the client does not exist"
    return tuple(
        attrs.evolve(row, status=RowStatus.NOT_EXAMINED, reason=unknown) if row in own else row for row in rows
    )
