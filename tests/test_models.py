"""The models: a class for every schema of the vendor's menu, frozen values, validated requests."""

from __future__ import annotations

import copy
import datetime as dt
import importlib
import inspect
import json
import pickle
import pkgutil
import typing
from typing import Any, cast

import attrs
import pytest

from bardge_async import models
from bardge_async._core.converter import dump_body
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import (
    UNSET,
    Body,
    BookClass,
    BookSpa,
    ConfirmAccessCode,
    ConfirmClassBooking,
    Duration,
    IssuePass,
    Mark,
    Model,
    Pass,
    PurchaseCopayPackage,
    PurchaseCredits,
    Resource,
    SpaCopayQuoteRequest,
    UpdateIssuedPassExpiry,
    UpdateLookupEnabled,
    VerifyLookup,
)
from tests.support.fields import list_field_names

# Copied from the vendor's page "Credits".
MENU = """\
    • PasscodeV3Request
    • PurchaseSpaCoPayV3Request
    • LookupInitiateV3Request
    • ResellerV3PasscodeResponse
    • ErrorDetail
    • ResellerV3ErrorResponse
    • LookupV3Response
    • ResellerV3SpaCoPayPurchaseResponse
    • LookupVerifyV3Request
    • SpaCoPayQuoteV3Request
    • IssuePassV3Request
    • PassRef
    • ResellerV3SpaCoPayQuoteResponse
    • CategoryDetails
    • ResellerV3IssuedPassResponse
    • UpdateIssuedPassExpiryV3Request
    • ResellerV3IssuedPassMessageResponse
    • UpdateLookupEnabledRequest
    • UpdateIssuedPassV3Request
    • PurchaseGymCoPayV3Request
    • PurchaseCoPayPackageV3Request
    • PurchaseCreditsV3Request
    • ResellerV3GymCoPayPurchaseResponse
    • ResellerV3CreditPurchaseResponse
    • ResellerV3CoPayPurchaseResponse
    • RescheduleBookingV3Request
    • RefundInfo
    • PasscodeInfo
    • ResellerV3BookingResponse
    • BookSpaV3Request
    • ResellerV3SpaBookingInitiateResponse
    • BookClassV3Request
    • CopayOption
    • ResellerV3ProviderResponse
    • ResellerV3ClassBookingInitiateResponse
    • ResellerV3ServiceResponse
    • ConfirmClassBookingV3Request
    • ResellerV3SpaResponse
    • AccessCodeV3Request
    • ServicePreview
    • ResellerV3AccessCodeResponse
    • ResellerV3ListResponse
    • ResellerV3AccessCodeSessionResponse
    • ResellerV3AvailabilityResponse
    • ConfirmAccessCodeV3Request
    • ResellerV3ClientResponse
    • CategoryDetail
    • ResellerV3CreditsResponse
    • ResellerV3PassResponse
    • ResellerV3ClassInstanceResponse
    • ResellerV3ClassResponse
    • ResellerV3BookingStatusResponse
"""
SCHEMAS = [line.removeprefix("    • ") for line in MENU.splitlines()]

# Section 6 by its three parts: schema -> class.
BY_MARK = {
    Mark.PAGE: """\
ResellerV3PassResponse Pass
CategoryDetail CategoryDetail
ResellerV3IssuedPassResponse IssuedPass
CategoryDetails CategoryDetails
UpdateIssuedPassExpiryV3Request UpdateIssuedPassExpiry
ResellerV3IssuedPassMessageResponse IssuedPassMessage
BookClassV3Request BookClass
ResellerV3ClassBookingInitiateResponse ClassBookingInitiation
ConfirmClassBookingV3Request ConfirmClassBooking
ResellerV3BookingResponse Booking
ResellerV3CreditsResponse ClientCredits
ErrorDetail ErrorDetail
ResellerV3ErrorResponse ErrorResponse
ResellerV3ListResponse Page
""",
    Mark.GUIDE: """\
AccessCodeV3Request AccessCodeRequest
ResellerV3AccessCodeResponse AccessCode
PurchaseCreditsV3Request PurchaseCredits
ResellerV3CreditPurchaseResponse CreditPurchase
LookupInitiateV3Request InitiateLookup
LookupVerifyV3Request VerifyLookup
LookupV3Response Lookup
PurchaseCoPayPackageV3Request PurchaseCopayPackage
PurchaseGymCoPayV3Request PurchaseGymCopay
PurchaseSpaCoPayV3Request PurchaseSpaCopay
ResellerV3CoPayPurchaseResponse CopayPurchase
ResellerV3GymCoPayPurchaseResponse GymCopayPurchase
ResellerV3SpaCoPayPurchaseResponse SpaCopayPurchase
CopayOption CopayOption
SpaCoPayQuoteV3Request SpaCopayQuoteRequest
ResellerV3SpaCoPayQuoteResponse SpaCopayQuote
BookSpaV3Request BookSpa
ResellerV3SpaBookingInitiateResponse SpaBookingInitiation
""",
    Mark.INFERRED: """\
IssuePassV3Request IssuePass
UpdateIssuedPassV3Request UpdateIssuedPass
PassRef PassRef
ResellerV3ClientResponse Client
ResellerV3ProviderResponse Provider
ResellerV3SpaResponse Spa
ResellerV3ServiceResponse Service
ServicePreview ServicePreview
ResellerV3AvailabilityResponse Availability
ResellerV3ClassResponse FitnessClass
ResellerV3ClassInstanceResponse ClassInstance
ResellerV3BookingStatusResponse BookingStatus
RefundInfo RefundInfo
RescheduleBookingV3Request RescheduleBooking
PasscodeV3Request PasscodeRequest
ResellerV3PasscodeResponse Passcode
PasscodeInfo PasscodeInfo
ResellerV3AccessCodeSessionResponse AccessCodeSession
ConfirmAccessCodeV3Request ConfirmAccessCode
UpdateLookupEnabledRequest UpdateLookupEnabled
""",
}
# Section 6, the fields of the responses: ² is a guide's, ¹ is inferred, the others are on a page.
FIELDS = """\
Pass: object id name description price currency duration categories livemode created payment_model provider_count
CategoryDetail: type tiers duration credit_allocated visits_allowed
IssuedPass: object id passcode status categories created message client_id transaction_id tx_ref pass_id pass_name start_date expires_at
CategoryDetails: type duration credit_allocated visits_allowed
IssuedPassMessage: object message
ClassBookingInitiation: object copay_required additional_visits_required booking_id status class_name provider_name date time scheduled_for visits_deducted created message cost_per_visit² copay_options² session_id¹
Booking: object id status type service_name class_name provider_name date time scheduled_for visits_deducted created message refund¹ passcode¹ client_id¹
ClientCredits: balance currency transactions message
CreditTransaction: type amount description timestamp
ErrorDetail: type code message request_id
ErrorResponse: error
Page: object url message
AccessCode: access_code² qr_code² expires_at² object¹ client_id¹ message¹
CreditPurchase: balance² object¹ id¹ client_id¹ package_id¹ credits¹ amount¹ currency¹ created¹ message¹
CreditPackage: object¹ id¹ name¹ credits¹ amount¹ currency¹ created¹
Lookup: object¹ id¹ status¹ issuer_id¹ client_id¹ lookup_token¹ expires_at¹ message¹
ClassCategory: object¹ id¹ name¹
Issuer: id² object¹ name¹
CopayPurchase: copay_purchase_id² object¹ status¹ amount¹ currency¹ created¹ message¹
GymCopayPurchase: copay_purchase_id² object¹ status¹ amount¹ currency¹ created¹ message¹
SpaCopayPurchase: copay_purchase_id² object¹ status¹ amount¹ currency¹ created¹ message¹
CopayOption: copay_package_id² name¹ price¹ currency¹ duration¹ visits¹ tier¹
SpaCopayQuote: quote_id¹ amount¹ currency¹ expires_at¹ services¹
SpaBookingInitiation: object¹ session_id¹ copay_required¹ amount¹ currency¹ services¹ provider_name¹ date¹ time¹ expires_at¹ message¹ id¹ booking_id¹ status¹ type¹ service_name¹ scheduled_for¹ created¹ refund¹ passcode¹ client_id¹
PassRef: pass_id¹ pass_name¹
Client: object¹ id¹ first_name¹ last_name¹ email¹ phone_number¹ passes¹ lookup_enabled¹ created¹
Provider: object¹ id¹ name¹ category¹ tier¹ address¹ city¹ lat¹ lon¹ distance¹ copay_available¹ created¹
Spa: object¹ id¹ name¹ category¹ tier¹ address¹ city¹ lat¹ lon¹ distance¹ copay_available¹ created¹ services¹
Service: id¹ name¹ price¹ currency¹ duration_minutes¹
ServicePreview: id¹ name¹ price¹ covered¹
Availability: date¹ slots¹
FitnessClass: object¹ id¹ name¹ description¹ category¹ provider_id¹ provider_name¹ instances¹ created¹
ClassInstance: object¹ id¹ date¹ time¹ scheduled_for¹ capacity¹ spots_left¹ instructor¹
BookingStatus: object¹ id¹ status¹ type¹ scheduled_for¹ message¹
RefundInfo: amount¹ currency¹ visits_restored¹ status¹
Passcode: passcode¹ expires_at¹
PasscodeInfo: passcode¹ expires_at¹
AccessCodeSession: session_id¹ status¹ expires_at¹
"""
SIGNS = {Mark.PAGE: "", Mark.GUIDE: "²", Mark.INFERRED: "¹"}
WITHOUT_SCHEMA = ["ClassCategory", "CreditPackage", "CreditTransaction", "Issuer"]


def find_concrete_models() -> list[type[Model]]:
    """Return every class that the modules of ``models`` define, exported or not."""
    modules = [
        importlib.import_module(f"bardge_async.models.{info.name}") for info in pkgutil.iter_modules(models.__path__)
    ]
    found = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    classes = [cls for cls in found if issubclass(cls, Model) and cls not in (Model, Resource, Body)]
    return sorted(classes, key=lambda cls: cls.__name__)


CLASSES = find_concrete_models()
RESOURCES = [cls for cls in CLASSES if issubclass(cls, Resource)]
BODIES = [cls for cls in CLASSES if issubclass(cls, Body)]

REQUIRED: dict[str, dict[str, Any]] = {
    "BookClass": {"class_instance_id": "ci_abc123", "client_id": "client_abc123"},
    "ConfirmAccessCode": {"copay_package_id": "copay_abc123"},
    "ConfirmClassBooking": {"copay_package_id": "copay_abc123"},
    "InitiateLookup": {"issuer_id": "iss_1", "client_id": "client_abc123"},
    "PurchaseCopayPackage": {"client_id": "client_abc123", "provider_id": "prov_1", "quote_id": "q_1"},
    "PurchaseCredits": {"client_id": "client_abc123", "package_id": "cpkg_50"},
    "PurchaseGymCopay": {"client_id": "client_abc123", "provider_id": "prov_1", "copay_package_id": "copay_abc123"},
    "PurchaseSpaCopay": {"client_id": "client_abc123", "provider_id": "prov_1", "quote_id": "q_1"},
    "UpdateIssuedPassExpiry": {"expiry_date": dt.date(2026, 12, 31)},
    "VerifyLookup": {"access_code": "123456"},
}


def make_model(cls: type[Model], **more: Any) -> Model:
    return cls(**{**REQUIRED.get(cls.__name__, {}), **more})


def read_fields(value: Model) -> dict[str, Any]:
    return {name: getattr(value, name) for name in list_field_names(type(value))}


def list_request_fields() -> list[tuple[type[Model], str, str]]:
    """Return every field of every request, with its annotation as text."""
    return [(cls, name, str(typing.get_type_hints(cls)[name])) for cls in BODIES for name in list_field_names(cls)]


def test_menu() -> None:
    """The vendor's menu has 52 schemas, each with one class of ours, and no class names another."""
    assert len(SCHEMAS) == len(set(SCHEMAS)) == 52
    assert sorted(str(cls.schema) for cls in CLASSES if cls.schema is not None) == sorted(SCHEMAS)


def test_without_schema() -> None:
    """Four classes have no schema in the menu."""
    assert [cls.__name__ for cls in CLASSES if cls.schema is None] == WITHOUT_SCHEMA


@pytest.mark.parametrize(
    ("mark", "schema", "name"),
    [(mark, *line.split()) for mark, lines in BY_MARK.items() for line in lines.splitlines()],
)
def test_class_of_schema(mark: Mark, schema: str, name: str) -> None:
    """A schema's class has the name and the mark of the notes."""
    cls = getattr(models, name)
    assert (cls.schema, cls.mark) == (schema, mark)


def test_marks_cover_menu() -> None:
    """The three parts of section 6 together are the menu."""
    parts = [line.split()[0] for lines in BY_MARK.values() for line in lines.splitlines()]
    assert sorted(parts) == sorted(SCHEMAS)


@pytest.mark.parametrize("cls", CLASSES)
def test_exported(cls: type[Model]) -> None:
    """Every class is among the public names of ``models``."""
    assert getattr(models, cls.__name__) is cls
    assert cls.__name__ in models.__all__


def test_all() -> None:
    """``models.__all__`` has no name twice and none that does not exist."""
    assert len(set(models.__all__)) == len(models.__all__)
    assert [name for name in models.__all__ if not hasattr(models, name)] == []


@pytest.mark.parametrize("cls", CLASSES)
def test_docstring_names_schema(cls: type[Model]) -> None:
    """A class's docstring names its schema in the vendor's words, or says that there is none."""
    said = cls.__doc__ or ""
    assert f"``{cls.schema}``" in said if cls.schema else "menu has no schema for it" in said


@pytest.mark.parametrize("cls", CLASSES)
def test_frozen(cls: type[Model]) -> None:
    """No field of a value can be set, and no field can be added."""
    value = make_model(cls)
    for name in (*list_field_names(cls), "extra", "brand_new"):
        with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
            setattr(value, name, "other")


@pytest.mark.parametrize("cls", CLASSES)
def test_hash_leaves_extra_out(cls: type[Model]) -> None:
    """Values can be hashed whatever ``extra`` holds, and it is not part of the hash."""
    assert hash(make_model(cls, extra={"new": ["unhashable"]})) == hash(make_model(cls))


@pytest.mark.parametrize("cls", CLASSES)
def test_equality_sees_extra(cls: type[Model]) -> None:
    """Two values that differ in ``extra`` only are not equal."""
    assert make_model(cls, extra={"new": 1}) == make_model(cls, extra={"new": 1})
    assert make_model(cls, extra={"new": 1}) != make_model(cls)


@pytest.mark.parametrize("cls", CLASSES)
def test_own_extra(cls: type[Model]) -> None:
    """``extra`` is a plain dict of its own for every value."""
    one, two = make_model(cls), make_model(cls)
    assert type(one.extra) is dict
    assert one.extra == {}
    assert one.extra is not two.extra


@pytest.mark.parametrize("cls", CLASSES)
def test_travels(cls: type[Model]) -> None:
    """A value survives pickle and copy."""
    value = make_model(cls, extra={"new": 1})
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own bytes
    assert copy.deepcopy(value) == value


def list_marked_fields(cls: type[Model]) -> list[str]:
    hints = typing.get_type_hints(cls, include_extras=True)
    marks = {name: getattr(hints[name], "__metadata__", ()) for name in list_field_names(cls)}
    return [name + SIGNS[found[0]] for name, found in marks.items() if found]


@pytest.mark.parametrize("line", FIELDS.splitlines(), ids=lambda line: line.split(":")[0])
def test_fields(line: str) -> None:
    """A response has the fields of the notes, each with its mark, which decides whether another type raises."""
    name, fields = line.split(": ")
    assert sorted(list_marked_fields(getattr(models, name))) == sorted(fields.split())


def test_fields_cover_answers() -> None:
    """Every response class is in the list above."""
    assert sorted(line.split(":")[0] for line in FIELDS.splitlines()) == [cls.__name__ for cls in RESOURCES]


@pytest.mark.parametrize("cls", RESOURCES)
def test_missing_response_fields_are_none(cls: type[Model]) -> None:
    """An empty response has None in every field except the page's own two."""
    own = {"items": (), "has_more": False} if cls is models.Page else {}
    assert read_fields(make_model(cls)) == {**dict.fromkeys(list_field_names(cls)), **own}


@pytest.mark.parametrize("cls", BODIES)
def test_optional_request_fields_are_unset(cls: type[Model]) -> None:
    """A request field that was not given is unset, which is not None."""
    given = REQUIRED.get(cls.__name__, {})
    assert read_fields(make_model(cls)) == {**dict.fromkeys(list_field_names(cls), UNSET), **given}


def test_unset() -> None:
    """The unset value is false, unlike None, and shows its name."""
    assert not UNSET
    assert UNSET is not None
    assert repr(UNSET) == "UNSET"
    assert repr(VerifyLookup(access_code="1")) == "VerifyLookup(extra={}, access_code='1')"


@pytest.mark.parametrize("cls", [BookClass, PurchaseCredits, VerifyLookup, UpdateIssuedPassExpiry])
def test_required(cls: type[Body]) -> None:
    """A field that a page or a guide requires cannot be left out."""
    with pytest.raises(TypeError, match="required keyword-only argument"):
        cls()


def test_keywords_only() -> None:
    """Fields are given by keyword, so that a new field breaks no call."""
    cls: Any = VerifyLookup
    with pytest.raises(TypeError):
        cls("123456")


WRONG: dict[str, tuple[object, ...]] = {
    "str": (5, True, b"client_abc123", 1.5, ["a"], {"a": 1}, dt.date(2026, 12, 31)),
    "int": ("5", 5.0, True, b"5", [5]),
    "bool": ("false", 0, 1, "True"),
    "datetime.date": ("2026-12-31", 1746700000000, dt.datetime(2026, 12, 31, tzinfo=dt.UTC)),
    "tuple[str, ...]": ("svc_1", 5, ("svc_1", 2), [None], {"svc_1"}),
}
EXPECTED = {
    "str": "text",
    "int": "a whole number",
    "bool": "True or False",
    "datetime.date": "a calendar day such as datetime.date(2026, 12, 31)",
    "tuple[str, ...]": "a list of texts",
}


def classify_annotation(annotation: str) -> str:
    return next(kind for kind in reversed(WRONG) if kind in annotation)


@pytest.mark.parametrize(("cls", "name", "annotation"), list_request_fields())
def test_wrong_type(cls: type[Body], name: str, annotation: str) -> None:
    """A value of another type is rejected for every request field; the message names class, field, fix and value."""
    kind = classify_annotation(annotation.replace("<class 'str'>", "str"))
    for wrong in WRONG[kind]:
        with pytest.raises(InvalidArgumentError) as caught:
            make_model(cls, **{name: wrong})
        assert str(caught.value).startswith(f"{cls.__name__}.{name}: expected {EXPECTED[kind]}")
        assert f", got {wrong!r}" in str(caught.value) or isinstance(wrong, list)


@pytest.mark.parametrize(
    ("cls", "name"), [(cls, name) for cls, name, text in list_request_fields() if "None" not in text]
)
def test_none_for_required(cls: type[Body], name: str) -> None:
    """None and the unset value are rejected where a value is required."""
    with pytest.raises(InvalidArgumentError, match=rf"{cls.__name__}\.{name}: expected .*, got None"):
        make_model(cls, **{name: None})


def test_long_values_are_cut() -> None:
    """A rejected value is not written out in full."""
    with pytest.raises(InvalidArgumentError) as caught:
        make_model(VerifyLookup, access_code=["x" * 1000])
    assert len(str(caught.value)) < 150


def test_lists_become_tuples() -> None:
    """A list of texts is accepted, and kept as a tuple."""
    services = ["svc_massage", "svc_aroma"]
    assert BookSpa(service_ids=services).service_ids == ("svc_massage", "svc_aroma")
    assert SpaCopayQuoteRequest(service_ids=services).service_ids == tuple(services)


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls, name, _ in list_request_fields()])
def test_extra_names_no_declared_field(cls: type[Body], name: str) -> None:
    """``extra`` may not name a declared field, even an unset one; the message says how to pass it."""
    with pytest.raises(InvalidArgumentError) as caught:
        make_model(cls, extra={name: "x"})
    assert str(caught.value) == f"{cls.__name__}.extra: {name!r} is a declared field, pass it as {name}=..."


@pytest.mark.parametrize("extra", [None, ["a"], "a", 5])
def test_extra_is_a_dict(extra: Any) -> None:
    """Anything but a dict is rejected as ``extra``."""
    with pytest.raises(InvalidArgumentError, match=r"^IssuePass\.extra: expected a dict, got "):
        IssuePass(extra=extra)


COPAY = {"copay_package_id": "copay_abc123"}
VISITS = {"number_of_visits": 5, "duration": Duration.ANNUALLY}


@pytest.mark.parametrize("cls", [ConfirmClassBooking, ConfirmAccessCode])
@pytest.mark.parametrize(
    "given",
    [
        COPAY,
        VISITS,
        {**COPAY, "duration": None},
        {**COPAY, **VISITS},
        {"number_of_visits": 5},
        {"duration": "ANNUALLY"},
    ],
)
def test_one_alternative(cls: type[Body], given: dict[str, Any]) -> None:
    """A confirmation takes either alternative, with a null as it is."""
    assert {name: read_fields(cls(**given))[name] for name in given} == given


@pytest.mark.parametrize("cls", [ConfirmClassBooking, ConfirmAccessCode])
@pytest.mark.parametrize("given", [{}, {"copay_package_id": None}, {"number_of_visits": None, "duration": None}])
def test_empty_confirmation(cls: type[Body], given: dict[str, Any]) -> None:
    """A confirmation that gives nothing is rejected; the message names the fields."""
    with pytest.raises(InvalidArgumentError) as caught:
        cls(**given)
    choice = "give at least one of copay_package_id, number_of_visits, duration"
    assert str(caught.value) == f"{cls.__name__}: {choice}"


def test_confirmation_by_unknown_field() -> None:
    """A field that this library does not know is something given, too."""
    assert ConfirmClassBooking(extra={"voucher": "v1"}).extra == {"voucher": "v1"}


def test_page_example_of_confirmation() -> None:
    """The example of the vendor's page, with all three fields, is sent as it is."""
    example: dict[str, Any] = {"copay_package_id": "copay_abc123", "number_of_visits": 5, "duration": "ANNUALLY"}
    assert json.loads(dump_body(ConfirmClassBooking(**example))) == example


@pytest.mark.parametrize("given", [COPAY, {"quote_id": "q_1"}, {**COPAY, "quote_id": "q_1"}])
def test_copay_alternative(given: dict[str, Any]) -> None:
    """A co-pay is bought by option or by quote; no page forbids to name both."""
    bought = PurchaseCopayPackage(client_id="client_abc123", provider_id="prov_1", **given)
    assert {name: read_fields(bought)[name] for name in given} == given


def test_copay_of_nothing() -> None:
    """Neither option nor quote is rejected."""
    with pytest.raises(InvalidArgumentError) as caught:
        PurchaseCopayPackage(client_id="client_abc123", provider_id="prov_1")
    assert str(caught.value) == "PurchaseCopayPackage: give at least one of copay_package_id, quote_id"


def test_none_is_a_value() -> None:
    """None is accepted for an optional field and is not the same as leaving it out."""
    assert UpdateLookupEnabled(lookup_enabled=None) != UpdateLookupEnabled()


def test_evolve_checks_again() -> None:
    """A changed copy of a request is validated like a new one."""
    with pytest.raises(InvalidArgumentError, match=r"VerifyLookup\.access_code: expected text, got 5"):
        attrs.evolve(cast("Any", make_model(VerifyLookup)), access_code=5)


def test_responses_can_be_made_by_hand() -> None:
    """Users' own tests can build a response from the fields they need."""
    assert Pass(id="pass_abc123", name="Lagos Monthly").id == "pass_abc123"
