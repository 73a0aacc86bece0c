"""The endpoint table: the API's endpoints as data.

The client's methods, the sandbox's routes, the documents and the contract tests all read it. It holds only what cannot
be derived.
"""

from __future__ import annotations

import enum
import string
import typing
from collections.abc import Mapping
from types import MappingProxyType, NoneType
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from bardge_async import models as m
from bardge_async.models import Mark, Page

__all__ = [
    "CANCEL_BOOKING",
    "CONFIRM_CLASS_BOOKING",
    "CONFIRM_SPA_BOOKING",
    "ENDPOINTS",
    "GENERATE_ACCESS_CODE",
    "GET_BOOKING_STATUS",
    "GET_CLASS",
    "GET_CLIENT",
    "GET_CLIENT_CREDITS",
    "GET_ISSUED_PASS",
    "INITIATE_CLASS_BOOKING",
    "INITIATE_LOOKUP",
    "INITIATE_SPA_BOOKING",
    "ISSUE_PASS",
    "LIST_CLASSES",
    "LIST_CLASS_CATEGORIES",
    "LIST_CLIENT_BOOKINGS",
    "LIST_CREDIT_PACKAGES",
    "LIST_GYM_COPAY_OPTIONS",
    "LIST_ISSUERS",
    "LIST_PASSES",
    "LIST_PROVIDERS",
    "LIST_PROVIDERS_FOR_PASS",
    "PURCHASE_COPAY_PACKAGE",
    "PURCHASE_CREDITS",
    "PURCHASE_GYM_COPAY",
    "PURCHASE_SPA_COPAY",
    "QUOTE_SPA_COPAY",
    "RESCHEDULE_BOOKING",
    "UPDATE_EXPIRY",
    "UPDATE_ISSUED_PASS",
    "VERIFY_LOOKUP",
    "Endpoint",
    "KeySupport",
    "RepeatEffect",
]

Q = TypeVar("Q")
R = TypeVar("R")

GET: Final = "GET"
POST: Final = "POST"


class RepeatEffect(enum.StrEnum):
    """What a second execution of the same request does."""

    HARMLESS = "same"
    """Harmless: it sets an absolute state."""
    DUPLICATES = "twice"
    """It charges, books or issues again."""
    CONFLICTS = "conflict"
    """The server refuses it because of the state the first one left."""


class KeySupport(enum.StrEnum):
    """Whether an endpoint takes ``Idempotency-Key``."""

    YES = "K"
    """The server honours it: ``key_mark`` of the endpoint says how well that is known."""
    UNPROVEN = "K?"
    """A key is sent, but nothing shows that the server honours it."""
    NO = ""


def _mark_key(endpoint: Endpoint[Any, Any]) -> Mark | None:
    marks = {KeySupport.YES: Mark.PAGE, KeySupport.UNPROVEN: Mark.INFERRED, KeySupport.NO: None}
    return marks[endpoint.key]


def _mark_paging(endpoint: Endpoint[Any, Any]) -> Mark | None:
    return Mark.PAGE if endpoint.paginated else None


def _takes_key(endpoint: Endpoint[Any, Any]) -> bool:
    return endpoint.key is not KeySupport.NO


def _is_key_honoured(endpoint: Endpoint[Any, Any]) -> bool:
    return endpoint.key is KeySupport.YES


def _is_repeat_harmless(endpoint: Endpoint[Any, Any]) -> bool:
    return endpoint.repeat_effect is None or endpoint.repeat_effect is RepeatEffect.HARMLESS


@attrs.frozen
class Endpoint(Generic[Q, R]):
    """Describe one endpoint: ``Q`` is its request class (``NoneType`` without a body), ``R`` its response class.

    ``mark`` says how well method, path and bodies are documented; ``key_mark``, ``lookup_token_mark`` and
    ``paging_mark`` the same of what the endpoint does with these, None if it has none. ``repeat_effect`` is None for a
    GET. ``cursor`` names the field of a list's items that pagination uses.
    """

    name: str
    method: str
    path: str
    request: type[Q]
    response: type[R]
    mark: Mark
    key: KeySupport = KeySupport.NO
    repeat_effect: RepeatEffect | None = None
    key_mark: Mark | None = attrs.field(default=attrs.Factory(_mark_key, takes_self=True), kw_only=True)
    lookup_token_mark: Mark | None = attrs.field(default=None, kw_only=True)
    paging_mark: Mark | None = attrs.field(default=attrs.Factory(_mark_paging, takes_self=True), kw_only=True)
    query: tuple[str, ...] = ()
    cursor: str = "id"
    bare_list: bool = False
    """The response may also be a plain JSON list instead of a page."""
    # Derived once, not by properties: every call reads them.
    takes_key: bool = attrs.field(default=attrs.Factory(_takes_key, takes_self=True), init=False, eq=False, repr=False)
    """Whether a call is sent with an idempotency key."""
    key_is_honoured: bool = attrs.field(
        default=attrs.Factory(_is_key_honoured, takes_self=True), init=False, eq=False, repr=False
    )
    """Whether the server is known to honour the key, so that it protects a repeat."""
    repeat_is_harmless: bool = attrs.field(
        default=attrs.Factory(_is_repeat_harmless, takes_self=True), init=False, eq=False, repr=False
    )
    """Whether a second execution changes nothing more: a GET, or a POST that sets an absolute state."""

    @property
    def lookup_token(self) -> bool:
        """Return whether a call may carry a lookup token."""
        return self.lookup_token_mark is not None

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """Return the names of the path's placeholders, in order."""
        return parse_placeholders(self.path)

    @property
    def takes_body(self) -> bool:
        """Return whether a call takes a request object."""
        return self.request is not NoneType

    @property
    def item(self) -> type[Any] | None:
        """Return the class of a list's items; None if the response is not a list."""
        return typing.get_args(self.response)[0] if self.paginated else None

    @property
    def paginated(self) -> bool:
        """Return whether the response is a page of a list."""
        return typing.get_origin(self.response) is Page


def parse_placeholders(path: str) -> tuple[str, ...]:
    """Return the names between braces, in order."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(path) if name is not None)


_NONE: Final = NoneType
_K: Final = KeySupport.YES
_UNPROVEN: Final = KeySupport.UNPROVEN
_NO_KEY: Final = KeySupport.NO
_HARMLESS, _DUPLICATES, _CONFLICTS = RepeatEffect.HARMLESS, RepeatEffect.DUPLICATES, RepeatEffect.CONFLICTS
_PAGE, _GUIDE, _INFERRED = Mark.PAGE, Mark.GUIDE, Mark.INFERRED
_COORDINATES: Final = ("lat", "lon")

LIST_PASSES: Final = Endpoint("passes.list", GET, "/passes", _NONE, Page[m.Pass], _PAGE)
ISSUE_PASS: Final = Endpoint("passes.issue", POST, "/issued_passes", m.IssuePass, m.IssuedPass, _GUIDE, _K, _DUPLICATES)
UPDATE_ISSUED_PASS: Final = Endpoint(
    "passes.update", POST, "/issued_passes/update", m.UpdateIssuedPass, m.IssuedPassMessage, _GUIDE, _K, _HARMLESS
)
UPDATE_EXPIRY: Final = Endpoint(
    "passes.update_expiry",
    POST,
    "/issued_passes/{client_id}/expiry",
    m.UpdateIssuedPassExpiry,
    m.IssuedPassMessage,
    _PAGE,
    _K,
    _HARMLESS,
)
GET_ISSUED_PASS: Final = Endpoint(
    "passes.get_issued", GET, "/issued_passes/{client_id}", _NONE, m.IssuedPass, _INFERRED
)
LIST_PROVIDERS: Final = Endpoint(
    "providers.list", GET, "/providers", _NONE, Page[m.Provider], _GUIDE, query=_COORDINATES
)
LIST_PROVIDERS_FOR_PASS: Final = Endpoint(
    "providers.list_for_pass", GET, "/passes/{pass_id}/providers", _NONE, Page[m.Provider], _GUIDE, query=_COORDINATES
)
GENERATE_ACCESS_CODE: Final = Endpoint(
    "access_codes.generate",
    POST,
    "/access-codes",
    m.AccessCodeRequest,
    m.AccessCode,
    _GUIDE,
    _K,
    _DUPLICATES,
    lookup_token_mark=_GUIDE,
)
LIST_CLASS_CATEGORIES: Final = Endpoint(
    "classes.list_categories",
    GET,
    "/classes/categories",
    _NONE,
    Page[m.ClassCategory],
    _INFERRED,
    paging_mark=_INFERRED,
    bare_list=True,
)
LIST_CLASSES: Final = Endpoint("classes.list", GET, "/classes", _NONE, Page[m.FitnessClass], _GUIDE)
GET_CLASS: Final = Endpoint("classes.get", GET, "/classes/{class_id}", _NONE, m.FitnessClass, _INFERRED)
INITIATE_CLASS_BOOKING: Final = Endpoint(
    "bookings.initiate_class",
    POST,
    "/bookings/class",
    m.BookClass,
    m.ClassBookingInitiation,
    _PAGE,
    _K,
    _DUPLICATES,
    lookup_token_mark=_PAGE,
)
CONFIRM_CLASS_BOOKING: Final = Endpoint(
    "bookings.confirm_class",
    POST,
    "/bookings/class/{session_id}/confirm",
    m.ConfirmClassBooking,
    m.Booking,
    _PAGE,
    _K,
    _DUPLICATES,
)
INITIATE_SPA_BOOKING: Final = Endpoint(
    "bookings.initiate_spa",
    POST,
    "/bookings/spa",
    m.BookSpa,
    m.SpaBookingInitiation,
    _GUIDE,
    _K,
    _DUPLICATES,
    lookup_token_mark=_INFERRED,
)
CONFIRM_SPA_BOOKING: Final = Endpoint(
    "bookings.confirm_spa", POST, "/bookings/spa/{session_id}/confirm", _NONE, m.Booking, _PAGE, _K, _DUPLICATES
)
LIST_CLIENT_BOOKINGS: Final = Endpoint(
    "bookings.list_for_client", GET, "/clients/{client_id}/bookings", _NONE, Page[m.Booking], _GUIDE
)
GET_BOOKING_STATUS: Final = Endpoint(
    "bookings.get_status", GET, "/bookings/{booking_id}", _NONE, m.BookingStatus, _INFERRED
)
CANCEL_BOOKING: Final = Endpoint(
    "bookings.cancel", POST, "/bookings/{booking_id}/cancel", _NONE, m.Booking, _INFERRED, _UNPROVEN, _CONFLICTS
)
RESCHEDULE_BOOKING: Final = Endpoint(
    "bookings.reschedule",
    POST,
    "/bookings/{booking_id}/reschedule",
    m.RescheduleBooking,
    m.Booking,
    _INFERRED,
    _K,
    _DUPLICATES,
    key_mark=_GUIDE,
)
LIST_GYM_COPAY_OPTIONS: Final = Endpoint(
    "copay.list_gym_options",
    GET,
    "/providers/{provider_branch_id}/gym-copay-options",
    _NONE,
    Page[m.CopayOption],
    _GUIDE,
    cursor="copay_package_id",
)
QUOTE_SPA_COPAY: Final = Endpoint(
    "copay.quote_spa",
    POST,
    "/providers/{provider_id}/spa-copay-quote",
    m.SpaCopayQuoteRequest,
    m.SpaCopayQuote,
    _GUIDE,
    _NO_KEY,
    _HARMLESS,
)
PURCHASE_GYM_COPAY: Final = Endpoint(
    "copay.purchase_gym", POST, "/gym_copay_purchases", m.PurchaseGymCopay, m.GymCopayPurchase, _GUIDE, _K, _DUPLICATES
)
PURCHASE_SPA_COPAY: Final = Endpoint(
    "copay.purchase_spa", POST, "/spa_copay_purchases", m.PurchaseSpaCopay, m.SpaCopayPurchase, _GUIDE, _K, _DUPLICATES
)
PURCHASE_COPAY_PACKAGE: Final = Endpoint(
    "copay.purchase_package",
    POST,
    "/copay_purchases",
    m.PurchaseCopayPackage,
    m.CopayPurchase,
    _GUIDE,
    _K,
    _DUPLICATES,
    key_mark=_GUIDE,
)
PURCHASE_CREDITS: Final = Endpoint(
    "credits.purchase", POST, "/credit_purchases", m.PurchaseCredits, m.CreditPurchase, _GUIDE, _K, _DUPLICATES
)
LIST_CREDIT_PACKAGES: Final = Endpoint(
    "credits.list_packages", GET, "/credit_packages", _NONE, Page[m.CreditPackage], _GUIDE
)
LIST_ISSUERS: Final = Endpoint("lookups.list_issuers", GET, "/issuers", _NONE, Page[m.Issuer], _GUIDE)
INITIATE_LOOKUP: Final = Endpoint(
    "lookups.initiate", POST, "/lookups", m.InitiateLookup, m.Lookup, _GUIDE, _UNPROVEN, _DUPLICATES
)
VERIFY_LOOKUP: Final = Endpoint(
    "lookups.verify", POST, "/lookups/{lookup_id}/verify", m.VerifyLookup, m.Lookup, _GUIDE, _UNPROVEN, _CONFLICTS
)
GET_CLIENT: Final = Endpoint("clients.get", GET, "/clients/{client_id}", _NONE, m.Client, _INFERRED)
GET_CLIENT_CREDITS: Final = Endpoint(
    "clients.get_credits", GET, "/clients/{client_id}/credits", _NONE, m.ClientCredits, _PAGE
)

_ALL: Final = cast("list[Endpoint[Any, Any]]", [value for value in globals().values() if isinstance(value, Endpoint)])

ENDPOINTS: Final[Mapping[str, Endpoint[Any, Any]]] = MappingProxyType({endpoint.name: endpoint for endpoint in _ALL})
"""All endpoints above by name."""
