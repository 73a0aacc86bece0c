"""What delays the calls of one account at the server: ``Retry-After``, the retry budget and the pace of its batches.

None of it belongs to the connections, which several accounts may share.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final
from weakref import WeakValueDictionary

from bardge_async._core.holdback import RetryAfterGate
from bardge_async._core.retry_budget import RetryBudget
from bardge_async._core.settings import RetryPolicy
from bardge_async._limits import Limiter
from bardge_async._limits.pacing import AccountPacing
from bardge_async.errors import ThrottledError


class AccountLimits:
    """The limits of one account: all its clients over the same connections share them."""

    def __init__(self, key_source: object) -> None:
        # Kept alive: the registry may know it by its id only.
        self._key_source: Final = key_source
        self.retry_after_gate = RetryAfterGate()
        self.pacing = AccountPacing()
        self._budgets: WeakValueDictionary[RetryPolicy, RetryBudget] = WeakValueDictionary()

    def find_budget(self, policy: RetryPolicy) -> RetryBudget:
        """Return the account's retry budget under a policy."""
        budget = self._budgets.get(policy)
        return self._budgets.setdefault(policy, RetryBudget(policy)) if budget is None else budget


class AccountRegistry:
    """The limits of the accounts that share one set of connections, for as long as a client of theirs exists."""

    def __init__(self) -> None:
        self._limits: WeakValueDictionary[tuple[str, Hashable], AccountLimits] = WeakValueDictionary()

    def find_limits(self, account: str, key_source: object) -> AccountLimits:
        """Return the limits of an account: the same only for the same label and the same API key or callable."""
        identity = (account, _identify_source(key_source))
        limits = self._limits.get(identity)
        return self._limits.setdefault(identity, AccountLimits(key_source)) if limits is None else limits


async def request_permit(limiter: Limiter, timeout: float) -> ThrottledError | None:
    """Wait for a permit to send; return the error if none was granted, whatever the user's limiter raised."""
    try:
        await limiter.acquire(timeout)
    except ThrottledError as error:
        return error
    except Exception as error:  # noqa: BLE001 - the user's own limiter
        failed = ThrottledError(f"the limiter failed: {type(error).__name__}")
        failed.__cause__ = error
        return failed
    return None


def _identify_source(key_source: object) -> Hashable:
    try:
        hash(key_source)
    except TypeError:
        return id(key_source)
    return key_source
