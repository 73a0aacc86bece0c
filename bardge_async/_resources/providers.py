"""``bardge.providers``: methods for the endpoints named ``providers.*``."""

from __future__ import annotations

from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import LIST_PROVIDERS, LIST_PROVIDERS_FOR_PASS
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import Provider


class Providers(EndpointMethods):
    """Calls of ``bardge.providers``."""

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
        """Walk the providers; with ``lat`` and ``lon`` in degrees, nearest first (guide: Providers).

        Args:
            lat: Latitude to order by, in degrees.
            lon: Longitude to order by, in degrees.
        """
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_PROVIDERS, options, query=_location_query(lat, lon))

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
        """Walk the providers for a pass; with ``lat`` and ``lon``, nearest first (guide: Providers).

        Args:
            pass_id: The pass package's id.
            lat: Latitude to order by, in degrees.
            lon: Longitude to order by, in degrees.
        """
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_PROVIDERS_FOR_PASS, options, pass_id, query=_location_query(lat, lon))


def _location_query(lat: float | None, lon: float | None) -> dict[str, float | None]:
    for name, value, bound in (("lat", lat, 90), ("lon", lon, 180)):
        if value is not None and (not _is_number(value) or not abs(value) <= bound):
            raise InvalidArgumentError(f"{name}: expected degrees from -{bound} to {bound}, got {value!r:.40}")
    if (lat is None) != (lon is None):
        raise InvalidArgumentError("lat, lon: pass both or neither")
    return {"lat": lat, "lon": lon}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
