"""The limiter in PostgreSQL: one rate for any number of processes and machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from bardge_async._core.arguments import check_schema
from bardge_async._core.secret import Secret
from bardge_async._limits.permits import PermitScheduler
from bardge_async._runtime.clock import Clock, choose_clock
from bardge_async._runtime.loops import PerLoop
from bardge_async.errors import ConfigurationError, ThrottledError

if TYPE_CHECKING:
    from bardge_async._limits.rate_table import RateSettings, RateTable

_CLOSE_TIMEOUT: Final = 5.0
_MAX_RATE: Final = 100_000


class PostgresLimiter:
    """Share one rate between any number of processes and machines (extra ``postgres``).

    Permits are evenly spaced over all of them by the database's clock; in any second at most ``per_second`` are granted,
    plus ``max(1, 3 %)``. Processes with more to send get more permits; saturated ones get equal shares. Each event loop
    takes a few permits ahead, some tens of milliseconds' worth, and those it does not need lapse. A 429 received by one
    process throttles all: the others once the permits they have in hand are used.

    While the database is unreachable nothing is sent: calls wait until their deadline, then raise ``ThrottledError``.

    The table ``rates`` is created in ``schema`` on first use. PgBouncer in transaction mode works. Close the limiter
    with ``async with`` or ``aclose()``, after its clients.

    Args:
        dsn: A libpq connection URL or string.
        name: The name of the rate, the same wherever it is shared: for example the account that the vendor limits.
        per_second: Requests per second over all processes; the same value in each of them.
        schema: The schema of the table: lower-case letters, digits, underscores.
        clock: Clock for the limiter's own waits.

    Raises:
        ConfigurationError: The extra is missing, or an argument is out of range.
    """

    def __init__(
        self, dsn: str, name: str, per_second: float, *, schema: str = "bardge", clock: Clock | None = None
    ) -> None:
        secret_dsn = Secret(dsn)
        del dsn
        _check_arguments(name, per_second)
        check_schema(schema)
        self._closed = False
        self._loops: PerLoop[LoopPermits] = PerLoop(
            _make_permits_factory(secret_dsn, schema, name, float(per_second), choose_clock(clock)),
            LoopPermits.aclose,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def acquire(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for a permit to send one request; fail immediately if it would take longer.

        Raises:
            ThrottledError: No permit was available in time; has ``retry_after``, in seconds, if a hold is the reason.
        """
        if self._closed:
            raise ThrottledError("the limiter is closed; create a new one")
        await self._loops.get().scheduler.acquire(timeout)

    def hold(self, seconds: float) -> None:
        """Grant no permits for ``seconds``: here immediately, in other processes once they next request permits."""
        if not self._closed:
            self._loops.get().scheduler.hold(seconds)

    async def aclose(self) -> None:
        """Fail the queued calls and close the connections, in all running loops; later calls raise ThrottledError."""
        self._closed = True
        await self._loops.aclose(_CLOSE_TIMEOUT)


class LoopPermits:
    """One event loop's permits, and its connection to the store, which is closed when the loop ends."""

    def __init__(self, table: RateTable, settings: RateSettings) -> None:
        self.scheduler = PermitScheduler(table.take_slots, settings.per_second, settings.clock)
        self._table = table

    async def aclose(self) -> None:
        """Fail the queued calls and close the connection."""
        await self.scheduler.aclose()
        await self._table.aclose()


def _check_arguments(name: object, per_second: object) -> None:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ConfigurationError(f"name: expected printable text, got {name!r:.40}")
    if isinstance(per_second, bool) or not isinstance(per_second, int | float) or not 0 < per_second <= _MAX_RATE:
        raise ConfigurationError(f"per_second: expected a number up to {_MAX_RATE}, got {per_second!r:.40}")


def _make_permits_factory(
    dsn: Secret, schema: str, name: str, per_second: float, clock: Clock
) -> Callable[[], LoopPermits]:
    try:
        from bardge_async._limits import rate_table as parts  # noqa: PLC0415 - the same
        from bardge_async._postgres.dsn import check_dsn  # noqa: PLC0415 - psycopg is an extra
    except ImportError as error:
        raise ConfigurationError(
            f"PostgresLimiter needs an extra: pip install 'bardge-async[postgres]' ({error})"
        ) from None
    settings = parts.RateSettings(check_dsn(dsn), schema, name, per_second, clock)
    return lambda: LoopPermits(parts.RateTable(settings), settings)
