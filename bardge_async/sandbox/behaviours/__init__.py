"""The behaviour of each endpoint, by its name; a contract test keeps this and the table equal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bardge_async.sandbox._request import Behaviour
from bardge_async.sandbox.behaviours import (
    _access_codes,
    _bookings,
    _class_bookings,
    _classes,
    _clients,
    _copay,
    _credits,
    _lookups,
    _passes,
    _providers,
    _spa_bookings,
)

__all__ = ["BEHAVIOURS"]

BEHAVIOURS: Final[Mapping[str, Behaviour]] = MappingProxyType(
    {
        "passes.list": _passes.list_passes,
        "passes.issue": _passes.issue_pass,
        "passes.update": _passes.update_issued_pass,
        "passes.update_expiry": _passes.update_expiry,
        "passes.get_issued": _passes.get_issued_pass,
        "providers.list": _providers.list_providers,
        "providers.list_for_pass": _providers.list_providers_for_pass,
        "access_codes.generate": _access_codes.generate_access_code,
        "classes.list_categories": _classes.list_class_categories,
        "classes.list": _classes.list_classes,
        "classes.get": _classes.get_class,
        "bookings.initiate_class": _class_bookings.initiate_class_booking,
        "bookings.confirm_class": _class_bookings.confirm_class_booking,
        "bookings.initiate_spa": _spa_bookings.initiate_spa_booking,
        "bookings.confirm_spa": _spa_bookings.confirm_spa_booking,
        "bookings.list_for_client": _bookings.list_client_bookings,
        "bookings.get_status": _bookings.get_booking_status,
        "bookings.cancel": _bookings.cancel_booking,
        "bookings.reschedule": _bookings.reschedule_booking,
        "copay.list_gym_options": _copay.list_gym_options,
        "copay.quote_spa": _copay.quote_spa_copay,
        "copay.purchase_gym": _copay.purchase_gym_copay,
        "copay.purchase_spa": _copay.purchase_spa_copay,
        "copay.purchase_package": _copay.purchase_copay_package,
        "credits.purchase": _credits.purchase_credits,
        "credits.list_packages": _credits.list_credit_packages,
        "lookups.list_issuers": _lookups.list_issuers,
        "lookups.initiate": _lookups.initiate_lookup,
        "lookups.verify": _lookups.verify_lookup,
        "clients.get": _clients.get_client,
        "clients.get_credits": _clients.get_client_credits,
    }
)
"""One behaviour per endpoint."""
