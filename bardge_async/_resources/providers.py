"""``bardge.providers``: methods for the endpoints named ``providers.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import Caller
from bardge_async.endpoints import LIST_PROVIDERS, LIST_PROVIDERS_FOR_PASS
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import Provider


class Providers:
    """Calls of ``bardge.providers``."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(
        self,
        *,
        lat: float | None = None,
        lon: float | None = None,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[Provider]:
        """Walk the providers; with ``lat`` and ``lon`` in degrees, nearest first (guide: Get providers).

        Args:
            lat: Latitude to order by, in degrees.
            lon: Longitude to order by, in degrees.
            limit: Maximum number of items; None for the whole list.
            page_size: Items per request, 1 to 100.
            starting_after: Start after the item with this id.
            ending_before: Walk backward from the item with this id, nearest item first; the item itself is excluded.
            read_ahead: Pages fetched ahead while you process one, 0 to 4.
        """
        span = WalkOptions(
            limit=limit,
            page_size=page_size,
            starting_after=starting_after,
            ending_before=ending_before,
            read_ahead=read_ahead,
        )
        return self._caller.walk(LIST_PROVIDERS, span, query=_location_query(lat, lon))

    def list_for_pass(
        self,
        pass_id: str,
        *,
        lat: float | None = None,
        lon: float | None = None,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[Provider]:
        """Walk the providers for a pass; with ``lat`` and ``lon``, nearest first (guide: Get providers for a pass).

        Args:
            pass_id: The pass package's id.
            lat: Latitude to order by, in degrees.
            lon: Longitude to order by, in degrees.
            limit: Maximum number of items; None for the whole list.
            page_size: Items per request, 1 to 100.
            starting_after: Start after the item with this id.
            ending_before: Walk backward from the item with this id, nearest item first; the item itself is excluded.
            read_ahead: Pages fetched ahead while you process one, 0 to 4.
        """
        span = WalkOptions(
            limit=limit,
            page_size=page_size,
            starting_after=starting_after,
            ending_before=ending_before,
            read_ahead=read_ahead,
        )
        return self._caller.walk(LIST_PROVIDERS_FOR_PASS, span, pass_id, query=_location_query(lat, lon))


def _location_query(lat: float | None, lon: float | None) -> dict[str, float | None]:
    for name, value, bound in (("lat", lat, 90), ("lon", lon, 180)):
        if value is not None and (not _is_number(value) or not abs(value) <= bound):
            raise InvalidArgumentError(f"{name}: expected degrees from -{bound} to {bound}, got {value!r:.40}")
    if (lat is None) != (lon is None):
        raise InvalidArgumentError("lat, lon: pass both or neither")
    return {"lat": lat, "lon": lon}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
