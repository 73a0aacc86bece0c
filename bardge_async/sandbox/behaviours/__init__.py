"""What each row of the table does, by the row's name; a contract test holds the two equal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bardge_async.sandbox._call import Behaviour
from bardge_async.sandbox.behaviours import _clients, _credits, _passes

__all__ = ["BEHAVIOURS"]

BEHAVIOURS: Final[Mapping[str, Behaviour]] = MappingProxyType(
    {
        "passes.list": _passes.list_passes,
        "passes.issue": _passes.issue_pass,
        "passes.update": _passes.update_issued_pass,
        "passes.update_expiry": _passes.update_expiry,
        "passes.get_issued": _passes.get_issued_pass,
        "credits.purchase": _credits.purchase_credits,
        "credits.list_packages": _credits.list_credit_packages,
        "clients.get": _clients.get_client,
        "clients.get_credits": _clients.get_client_credits,
    }
)
"""One behaviour per row."""
