"""The settings and parts that all calls of one client share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from bardge_async._core.entry import KeyIdentity
from bardge_async._core.settings import ReplayWindow, RetryPolicy, Timeouts
from bardge_async._journal import Journal, MemoryJournal
from bardge_async._limits import Limiter
from bardge_async._limits.accounts import AccountLimits
from bardge_async._limits.connections import ConnectionSlots
from bardge_async._network import Transport
from bardge_async._network.credentials import Credentials
from bardge_async._runtime.clock import ClockReader

if TYPE_CHECKING:
    from bardge_async._calls.notifier import Notifier  # brings cattrs

_LOG: Final = logging.getLogger("bardge_async")


@attrs.frozen(eq=False, repr=False)
class ClientSettings:
    """A client's settings, checked."""

    base_url: str
    account: str
    credentials: Credentials
    timeouts: Timeouts
    policy: RetryPolicy
    window: ReplayWindow
    journal: Journal
    notifier: Notifier
    limiter: Limiter | None

    def is_same_account(self, other: ClientSettings) -> bool:
        """Return whether both have the same account label and the same API key or callable."""
        return (self.account, self.credentials.source) == (other.account, other.credentials.source)


@attrs.frozen(eq=False, repr=False)
class CallContext:
    """The parts that a call uses.

    ``memory_journal`` is the journal if it is a plain :class:`MemoryJournal`, which takes entries without awaiting.
    ``hold_fresh`` claims a key generated for this call without reading the store, if the journal supports it.
    """

    settings: ClientSettings
    transport: Transport
    slots: ConnectionSlots
    account_limits: AccountLimits
    clock_reader: ClockReader
    memory_journal: MemoryJournal | None
    hold_fresh: Callable[[KeyIdentity], bool] | None

    def is_observed(self) -> bool:
        """Return whether adaptive limit, hooks or log want to know of attempts."""
        return (
            self.account_limits.pacing.was_used or self.settings.notifier.has_hooks or _LOG.isEnabledFor(logging.DEBUG)
        )


@attrs.define(eq=False, repr=False)
class OperationProgress:
    """Attempts and outcome of one operation, over all calls of its block.

    ``recorded`` is False if the outcome could not be written to the journal. ``refused`` is True if the API refused
    the operation itself, in this call or in a journaled one.
    """

    attempts: int = 0
    recorded: bool = True
    refused: bool = False
