"""Limiters: the rate at which the processes that share one send requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bardge_async._limits.postgres_limiter import PostgresLimiter

__all__ = ["Limiter", "PostgresLimiter"]


def __getattr__(name: str) -> type[PostgresLimiter]:
    """Import the PostgreSQL limiter on first access: it needs an extra."""
    if name == "PostgresLimiter":
        from bardge_async._limits import postgres_limiter  # noqa: PLC0415

        return postgres_limiter.PostgresLimiter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Limiter(Protocol):
    """Grant permits to send; pass your own as ``BardgeClient(limiter=...)``. Every attempt takes one, retries included."""

    async def acquire(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for a permit to send one request; fail immediately if it would take longer.

        A cancelled waiter must not block the others: its permit lapses or goes to another waiter.

        Raises:
            ThrottledError: No permit was available in time; has ``retry_after``, in seconds, if a hold is the reason.
        """

    def hold(self, seconds: float) -> None:
        """Grant no permits for ``seconds``, to any process that shares the rate, after a 429. Never waits, never raises."""
