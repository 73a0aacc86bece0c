"""What a forked child must not inherit: a lock held by a thread of its parent is held for ever in the child."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol

# No lock guards this set: its own would be inherited, too. Adding to a set and copying it are atomic.
_OWNERS: Final[weakref.WeakSet[LockOwner]] = weakref.WeakSet()


class LockOwner(Protocol):
    """An object that makes its locks anew in a forked child."""

    def reset_after_fork(self) -> None:
        """Replace what a thread of the parent may have held: it does not exist here."""


def register_lock_owner(owner: LockOwner) -> None:
    """Have an object reset in every forked child, as long as it lives."""
    _OWNERS.add(owner)


def _reset_owners() -> None:
    for owner in list(_OWNERS):
        owner.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_owners)
