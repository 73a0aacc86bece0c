"""Limiters: how fast requests are sent, over whatever processes share one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bardge_async._limits.postgres_limiter import PostgresLimiter

__all__ = ["Limiter", "PostgresLimiter"]


def __getattr__(name: str) -> type[PostgresLimiter]:
    """Import the limiter of another store when it is asked for."""
    if name == "PostgresLimiter":
        from bardge_async._limits import postgres_limiter  # noqa: PLC0415

        return postgres_limiter.PostgresLimiter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Limiter(Protocol):
    """Give turns to send; give your own as ``BardgeClient(limiter=...)``. Every attempt takes one, a repeated one too."""

    async def acquire(self, timeout: float) -> None:
        """Wait for a turn to send one request, for at most ``patience`` seconds; a wait that must be longer is not begun.

        A cancelled waiter leaves nobody stuck: its turn lapses, or is another's.

        Raises:
            ThrottledError: No turn came in time; with ``retry_after``, the seconds, where a hold is the reason.
        """

    def hold(self, seconds: float) -> None:
        """Give no turn for so long, to nobody who shares the rate: a 429 was answered. This neither waits nor raises."""
