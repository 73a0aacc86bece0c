"""The table's 31 names, written out: a missing endpoint, method or behaviour fails a test by its name."""

from __future__ import annotations

from typing import Final

NAMES: Final = (
    "passes.list",
    "passes.issue",
    "passes.update",
    "passes.update_expiry",
    "passes.get_issued",
    "providers.list",
    "providers.list_for_pass",
    "access_codes.generate",
    "classes.list_categories",
    "classes.list",
    "classes.get",
    "bookings.initiate_class",
    "bookings.confirm_class",
    "bookings.initiate_spa",
    "bookings.confirm_spa",
    "bookings.list_for_client",
    "bookings.get_status",
    "bookings.cancel",
    "bookings.reschedule",
    "copay.list_gym_options",
    "copay.quote_spa",
    "copay.purchase_gym",
    "copay.purchase_spa",
    "copay.purchase_package",
    "credits.purchase",
    "credits.list_packages",
    "lookups.list_issuers",
    "lookups.initiate",
    "lookups.verify",
    "clients.get",
    "clients.get_credits",
)
