"""The strict converter: the notes' examples in both directions, nothing guessed, nothing dropped."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from decimal import Decimal
from typing import Any, TypeVar

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bardge_async import models as m
from bardge_async._core.converter import dump_body, dump_json, parse_json, structure_value
from bardge_async._core.scalars import StructureError
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import Body, Duration, Mark, Page, Resource
from tests.contract.examples import parse_utc

T = TypeVar("T")


def decode(cls: type[T], text: str) -> T:
    body = text.encode()
    return structure_value(parse_json(body), body, cls)


def list_problems(cls: type[Any], text: str) -> list[str]:
    with pytest.raises(StructureError) as caught:
        decode(cls, text)
    return [f"${path}: {said}" for path, said in caught.value.mismatches]


# The instants of the examples: the first two in milliseconds, the others in seconds.
CREATED = parse_utc("2025-05-08T10:26:40")
EXPIRES = parse_utc("2026-05-01T12:00:00")
SCHEDULED = parse_utc("2025-05-20T07:00:00")
BOOKED = parse_utc("2025-05-20T00:13:20")

# Each documented example of a response, and its value.
EXAMPLES: dict[str, tuple[type[Resource], str, Resource]] = {
    "pass": (
        m.Pass,
        """{"object": "pass", "id": "pass_abc123", "name": "Gold", "description": "Every gym in Lagos", "price": 1500000,
        "currency": "NGN", "duration": "monthly", "categories": [{"type": "SPA", "tiers": ["STANDARD", "PREMIUM"],
        "duration": "monthly", "credit_allocated": 20, "visits_allowed": 4}], "livemode": true,
        "created": 1746700000000, "payment_model": "SUBSCRIPTION", "provider_count": 42}""",
        m.Pass(
            object="pass",
            id="pass_abc123",
            name="Gold",
            description="Every gym in Lagos",
            price=Decimal(1500000),
            currency="NGN",
            duration=Duration.MONTHLY,
            categories=(
                m.CategoryDetail(
                    type=m.ProviderCategory.SPA,
                    tiers=("STANDARD", "PREMIUM"),
                    duration=Duration.MONTHLY,
                    credit_allocated=Decimal(20),
                    visits_allowed=4,
                ),
            ),
            livemode=True,
            created=CREATED,
            payment_model="SUBSCRIPTION",
            provider_count=42,
        ),
    ),
    "issued pass": (
        m.IssuedPass,
        """{"object": "issued_pass", "id": "brgpass_abc123", "passcode": "ABC12345", "status": "ACTIVE",
        "categories": [{"type": "SPA", "duration": "MONTHLY", "credit_allocated": 20, "visits_allowed": 4}],
        "created": 1746700000000, "message": "Pass issued", "client_id": "client_abc123",
        "transaction_id": "txn_abc123", "tx_ref": "FLW-TXN-ABCDEFGH", "pass_id": "pass_abc123", "pass_name": "Gold",
        "start_date": 1746700000000, "expires_at": 1777636800000}""",
        m.IssuedPass(
            object="issued_pass",
            id="brgpass_abc123",
            passcode="ABC12345",
            status=m.IssuedPassState.ACTIVE,
            categories=(
                m.CategoryDetails(
                    type=m.ProviderCategory.SPA,
                    duration=Duration.MONTHLY,
                    credit_allocated=Decimal(20),
                    visits_allowed=4,
                ),
            ),
            created=CREATED,
            message="Pass issued",
            client_id="client_abc123",
            transaction_id="txn_abc123",
            tx_ref="FLW-TXN-ABCDEFGH",
            pass_id="pass_abc123",
            pass_name="Gold",
            start_date=CREATED,
            expires_at=EXPIRES,
        ),
    ),
    "issued pass message": (
        m.IssuedPassMessage,
        '{"object": "issued_pass", "message": "Pass expiry updated successfully"}',
        m.IssuedPassMessage(object="issued_pass", message="Pass expiry updated successfully"),
    ),
    "class booking, covered": (
        m.ClassBookingInitiation,
        """{"object": "class_booking_initiation", "copay_required": false, "additional_visits_required": false,
        "booking_id": "booking_2a4f8e1b3c5d9f7a", "status": "PENDING", "class_name": "Yoga", "provider_name": "Ikoyi Gym",
        "date": "2026-05-20", "time": "07:00", "scheduled_for": 1747724400, "visits_deducted": 1,
        "created": 1747700000, "message": "Class booked"}""",
        m.ClassBookingInitiation(
            object="class_booking_initiation",
            copay_required=False,
            additional_visits_required=False,
            booking_id="booking_2a4f8e1b3c5d9f7a",
            status=m.BookingState.PENDING,
            class_name="Yoga",
            provider_name="Ikoyi Gym",
            date=dt.date(2026, 5, 20),
            time="07:00",
            scheduled_for=SCHEDULED,
            visits_deducted=1,
            created=BOOKED,
            message="Class booked",
        ),
    ),
    "class booking, to confirm": (
        m.ClassBookingInitiation,
        """{"copay_required": true, "additional_visits_required": true, "session_id": "sess_abc123def456",
        "cost_per_visit": 2500.50, "copay_options": [{"copay_package_id": "copay_abc123"}]}""",
        m.ClassBookingInitiation(
            copay_required=True,
            additional_visits_required=True,
            session_id="sess_abc123def456",
            cost_per_visit=Decimal("2500.50"),
            copay_options=(m.CopayOption(copay_package_id="copay_abc123"),),
        ),
    ),
    "spa booking": (
        m.Booking,
        """{"object": "booking", "id": "booking_2a4f8e1b3c5d9f7a", "status": "PENDING", "type": "spa",
        "service_name": "Deep Tissue Massage, Aromatherapy", "provider_name": "Lekki Spa", "date": "2026-05-20",
        "time": "07:00", "scheduled_for": 1747724400, "created": 1747700000, "message": "Booked"}""",
        m.Booking(
            object="booking",
            id="booking_2a4f8e1b3c5d9f7a",
            status=m.BookingState.PENDING,
            type=m.BookingType.SPA,
            service_name="Deep Tissue Massage, Aromatherapy",
            provider_name="Lekki Spa",
            date=dt.date(2026, 5, 20),
            time="07:00",
            scheduled_for=SCHEDULED,
            created=BOOKED,
            message="Booked",
        ),
    ),
    "class booking": (
        m.Booking,
        """{"type": "class", "class_name": "Yoga", "visits_deducted": 1, "refund": {"amount": 0.10, "currency": "NGN",
        "visits_restored": 1, "status": "done"}, "passcode": {"passcode": "ABC12345", "expires_at": 1777636800000},
        "client_id": "client_abc123"}""",
        m.Booking(
            type=m.BookingType.CLASS,
            class_name="Yoga",
            visits_deducted=1,
            refund=m.RefundInfo(amount=Decimal("0.10"), currency="NGN", visits_restored=1, status="done"),
            passcode=m.PasscodeInfo(passcode="ABC12345", expires_at=EXPIRES),
            client_id="client_abc123",
        ),
    ),
    "client credits": (
        m.ClientCredits,
        """{"balance": 25, "currency": "NGN", "transactions": [
        {"type": "DEBIT", "amount": 5, "description": "Spa visit", "timestamp": 1746700000000},
        {"type": "CREDIT", "amount": 30, "description": "50 Credits Pack", "timestamp": 1746700000000}],
        "message": "Credits retrieved"}""",
        m.ClientCredits(
            balance=Decimal(25),
            currency="NGN",
            transactions=(
                m.CreditTransaction(
                    type=m.TransactionType.DEBIT, amount=Decimal(5), description="Spa visit", timestamp=CREATED
                ),
                m.CreditTransaction(
                    type=m.TransactionType.CREDIT, amount=Decimal(30), description="50 Credits Pack", timestamp=CREATED
                ),
            ),
            message="Credits retrieved",
        ),
    ),
    "error": (
        m.ErrorResponse,
        """{"error": {"type": "invalid_request_error", "code": "pass_not_found",
        "message": "No pass exists with id pass_01H8XYZ.", "request_id": "req_01H8XYZABCDE"}}""",
        m.ErrorResponse(
            error=m.ErrorDetail(
                type="invalid_request_error",
                code="pass_not_found",
                message="No pass exists with id pass_01H8XYZ.",
                request_id="req_01H8XYZABCDE",
            )
        ),
    ),
    "list": (
        Page[m.Pass],
        """{"object": "list", "data": [{"object": "pass", "id": "pass_01H8XYZABCDE"}], "has_more": true,
        "url": "/v3/api/business/reseller/passes", "message": "Passes retrieved successfully"}""",
        Page[m.Pass](
            object="list",
            items=(m.Pass(object="pass", id="pass_01H8XYZABCDE"),),
            has_more=True,
            url="/v3/api/business/reseller/passes",
            message="Passes retrieved successfully",
        ),
    ),
    "access code": (
        m.AccessCode,
        """{"object": "access_code", "access_code": "raw", "qr_code": "data:image/png;base64,AA==",
        "expires_at": 1777636800000, "client_id": "client_abc123", "message": "Show it"}""",
        m.AccessCode(
            object="access_code",
            access_code="raw",
            qr_code="data:image/png;base64,AA==",
            expires_at=EXPIRES,
            client_id="client_abc123",
            message="Show it",
        ),
    ),
    "credit package": (
        m.CreditPackage,
        '{"object": "credit_package", "id": "cpkg_50", "name": "50 Credits Pack", "credits": 50, "amount": 45000}',
        m.CreditPackage(
            object="credit_package", id="cpkg_50", name="50 Credits Pack", credits=Decimal(50), amount=Decimal(45000)
        ),
    ),
    "credit purchase": (
        m.CreditPurchase,
        '{"object": "credit_purchase", "balance": 75, "client_id": "client_abc123", "package_id": "cpkg_50"}',
        m.CreditPurchase(
            object="credit_purchase", balance=Decimal(75), client_id="client_abc123", package_id="cpkg_50"
        ),
    ),
    "lookup": (
        m.Lookup,
        '{"object": "lookup", "id": "lkp_1", "lookup_token": "lkpt_abc123", "expires_at": 1777636800000}',
        m.Lookup(object="lookup", id="lkp_1", lookup_token="lkpt_abc123", expires_at=EXPIRES),
    ),
    "issuer": (m.Issuer, '{"object": "issuer", "id": "iss_1"}', m.Issuer(object="issuer", id="iss_1")),
    "provider": (
        m.Spa,
        '{"category": "GYM", "lat": 6.5244, "lon": 3, "services": [{"id": "svc_1", "price": 1.10}]}',
        m.Spa(
            category=m.ProviderCategory.GYM,
            lat=6.5244,
            lon=3.0,
            services=(m.Service(id="svc_1", price=Decimal("1.10")),),
        ),
    ),
    "class": (
        m.FitnessClass,
        '{"id": "cls_1", "instances": [{"id": "ci_abc123", "date": "2026-05-20", "scheduled_for": 1747724400}]}',
        m.FitnessClass(
            id="cls_1",
            instances=(m.ClassInstance(id="ci_abc123", date=dt.date(2026, 5, 20), scheduled_for=SCHEDULED),),
        ),
    ),
}

CLIENT: dict[str, Any] = {"client_id": "client_abc123", "first_name": "Adaeze", "last_name": "Okafor"}
COPAY: dict[str, Any] = {"client_id": "client_abc123", "provider_id": "prov_1"}

# Each request with all its fields, and its JSON: the first four as the vendor shows them.
REQUESTS: list[tuple[Body, str]] = [
    (m.UpdateIssuedPassExpiry(expiry_date=dt.date(2026, 12, 31)), '{"expiry_date":"2026-12-31"}'),
    (
        m.BookClass(class_instance_id="ci_abc123", user_pass_id="brgpass_abc123", **CLIENT),
        (
            '{"class_instance_id":"ci_abc123","client_id":"client_abc123","first_name":"Adaeze","last_name":"Okafor",'
            '"user_pass_id":"brgpass_abc123"}'
        ),
    ),
    (m.ConfirmClassBooking(copay_package_id="copay_abc123"), '{"copay_package_id":"copay_abc123"}'),
    (
        m.ConfirmClassBooking(number_of_visits=5, duration=Duration.ANNUALLY),
        '{"number_of_visits":5,"duration":"ANNUALLY"}',
    ),
    (
        m.ConfirmAccessCode(number_of_visits=5, duration=Duration.MONTHLY),
        '{"number_of_visits":5,"duration":"MONTHLY"}',
    ),
    (
        m.AccessCodeRequest(client_id="client_abc123", provider_id="prov_1", user_pass_id="brgpass_abc123"),
        '{"client_id":"client_abc123","provider_id":"prov_1","user_pass_id":"brgpass_abc123"}',
    ),
    (
        m.PurchaseCredits(client_id="client_abc123", package_id="cpkg_50"),
        '{"client_id":"client_abc123","package_id":"cpkg_50"}',
    ),
    (
        m.InitiateLookup(issuer_id="iss_1", client_id="client_abc123"),
        '{"issuer_id":"iss_1","client_id":"client_abc123"}',
    ),
    (m.VerifyLookup(access_code="123456"), '{"access_code":"123456"}'),
    (
        m.PurchaseCopayPackage(quote_id="q_1", **COPAY),
        '{"client_id":"client_abc123","provider_id":"prov_1","quote_id":"q_1"}',
    ),
    (
        m.PurchaseGymCopay(copay_package_id="copay_abc123", **COPAY),
        '{"client_id":"client_abc123","provider_id":"prov_1","copay_package_id":"copay_abc123"}',
    ),
    (
        m.PurchaseSpaCopay(quote_id="q_1", **COPAY),
        '{"client_id":"client_abc123","provider_id":"prov_1","quote_id":"q_1"}',
    ),
    (
        m.SpaCopayQuoteRequest(client_id="client_abc123", service_ids=("svc_1", "svc_2")),
        '{"client_id":"client_abc123","service_ids":["svc_1","svc_2"]}',
    ),
    (
        m.BookSpa(provider_id="prov_1", service_ids=("svc_1",), date=dt.date(2026, 5, 20), time="14:30", **CLIENT),
        (
            '{"provider_id":"prov_1","service_ids":["svc_1"],"date":"2026-05-20","time":"14:30",'
            '"client_id":"client_abc123","first_name":"Adaeze","last_name":"Okafor"}'
        ),
    ),
    (
        m.IssuePass(
            pass_id="pass_abc123",
            email="ada@example.com",
            phone_number="+2348012345678",
            start_date=dt.date(2026, 1, 2),
            tx_ref="FLW-TXN-ABCDEFGH",
            **CLIENT,
        ),
        (
            '{"client_id":"client_abc123","pass_id":"pass_abc123","first_name":"Adaeze","last_name":"Okafor",'
            '"email":"ada@example.com","phone_number":"+2348012345678","start_date":"2026-01-02",'
            '"tx_ref":"FLW-TXN-ABCDEFGH"}'
        ),
    ),
    (
        m.UpdateIssuedPass(email="ada@example.com", phone_number="+2348012345678", **CLIENT),
        (
            '{"client_id":"client_abc123","first_name":"Adaeze","last_name":"Okafor","email":"ada@example.com",'
            '"phone_number":"+2348012345678"}'
        ),
    ),
    (
        m.RescheduleBooking(date=dt.date(2026, 5, 21), time="08:00", class_instance_id="ci_abc123"),
        '{"date":"2026-05-21","time":"08:00","class_instance_id":"ci_abc123"}',
    ),
    (m.PasscodeRequest(client_id="client_abc123"), '{"client_id":"client_abc123"}'),
    (m.UpdateLookupEnabled(lookup_enabled=True), '{"lookup_enabled":true}'),
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    """A documented response decodes to exactly the documented values."""
    cls, text, value = EXAMPLES[name]
    assert decode(cls, text) == value


@pytest.mark.parametrize(("request_", "text"), REQUESTS, ids=lambda value: type(value).__name__)
def test_request(request_: Body, text: str) -> None:
    """A request encodes to exactly the documented JSON."""
    assert dump_body(request_).decode() == text


def test_every_request_is_encoded() -> None:
    """Every request class is in the list above."""
    bodies = {cls for name in m.__all__ if isinstance(cls := getattr(m, name), type) and issubclass(cls, Body)}
    assert {type(request) for request, _ in REQUESTS} == bodies - {Body}


@pytest.mark.parametrize(
    ("number", "instant"),
    [
        ("1746700000000", CREATED),
        ("1746700000", CREATED),
        ("1747724400", SCHEDULED),
        ("1747724400.25", parse_utc("2025-05-20T07:00:00.250000")),
        ("1746700000000.5", parse_utc("2025-05-08T10:26:40.000500")),
        ("0", parse_utc("1970-01-01T00:00:00")),
        ("-1", parse_utc("1969-12-31T23:59:59")),
        ("99999999999", parse_utc("5138-11-16T09:46:39")),
        ("100000000000", parse_utc("1973-03-03T09:46:40")),
    ],
)
def test_time_units(number: str, instant: dt.datetime) -> None:
    """Seconds and milliseconds are distinguished by magnitude, from 10^11 on, always as aware UTC."""
    created = decode(m.Booking, f'{{"created": {number}}}').created
    assert created == instant
    assert created is not None
    assert created.tzinfo is dt.UTC


@pytest.mark.parametrize("number", ["1e30", "-1e30", "1e308", '"1746700000000"', '"2026-05-20T07:00:00Z"', "true"])
def test_no_instant(number: str) -> None:
    """A value that is no number, or beyond the calendar, is no instant."""
    expected = "a timestamp" if "e" in number and '"' not in number and number != "true" else "a number"
    assert list_problems(m.Booking, f'{{"created": {number}}}')[0].startswith(f"$.created: expected {expected}, got ")


@pytest.mark.parametrize(
    "day", ['"2026-02-30"', '"2026-5-20"', '"20260520"', '"2026-W20-3"', '"2026-05-20T07:00"', "20260520", '""']
)
def test_no_day(day: str) -> None:
    """Only YYYY-MM-DD is a calendar day."""
    assert list_problems(m.Booking, f'{{"date": {day}}}') == [f'$.date: expected a day such as "2026-12-31", got {day}']


@pytest.mark.parametrize("word", ["monthly", "MONTHLY", "Monthly"])
def test_case_is_folded(word: str) -> None:
    """An enum matches without regard to case."""
    assert decode(m.Pass, f'{{"duration": "{word}"}}').duration is Duration.MONTHLY


@pytest.mark.parametrize(("word", "state"), [("ACTIVE", "ACTIVE"), ("active", "ACTIVE"), ("cancelled", "CANCELLED")])
def test_states(word: str, state: str) -> None:
    """A state of an issued pass is recognised in both cases."""
    assert decode(m.IssuedPass, f'{{"status": "{word}"}}').status is m.IssuedPassState(state)


def test_enums_are_open() -> None:
    """A value that no enum lists is kept as text."""
    assert type(decode(m.Pass, '{"duration": "Weekly"}').duration) is str
    assert decode(m.Pass, '{"duration": "Weekly"}').duration == "Weekly"


@pytest.mark.parametrize(
    "digits",
    [
        "12345678901234567.89",
        "0.1",
        "1.10",
        "100000000000000000000000000000000000001",
        "9223372036854775808",
        "18446744073709551616",
        "-18446744073709551617",
        "1E+2",
        "0.30000000000000000000000000000000004",
    ],
)
def test_money_is_exact(digits: str) -> None:
    """Money has exactly the digits of the response, beyond what a float or 64 bits hold."""
    price = decode(m.Pass, f'{{"price": {digits}}}').price
    assert str(price) == digits


def test_exact_in_one_place_only() -> None:
    """A body that is parsed again for one number reads the same everywhere else."""
    page = decode(
        Page[m.Provider],
        '{"data": [{"lat": 6.5244, "created": 1747724400, "copay_available": true}, {"fee": 0.1}], "has_more": false}',
    )
    first, second = page.items
    assert (first.lat, type(first.lat), first.created, first.copay_available) == (6.5244, float, SCHEDULED, True)
    assert second.extra == {"fee": Decimal("0.1")}


def test_unknown_fields_are_kept() -> None:
    """Unknown fields stay in ``extra``, numbers exactly, null as None."""
    value = decode(
        m.Issuer,
        '{"id": "iss_1", "new": {"a": [1, 0.1, {"b": 12345678901234567.89}], "big": 36893488147419103232}, "none": null}',
    )
    assert value.id == "iss_1"
    assert value.extra == {
        "new": {"a": [1, Decimal("0.1"), {"b": Decimal("12345678901234567.89")}], "big": 36893488147419103232},
        "none": None,
    }
    assert type(value.extra["new"]["big"]) is int


@pytest.mark.parametrize("raw", ["0.1", "[0.1]", '{"a": 0.1}', '[[{"a": [0.1]}]]'])
def test_unknown_numbers_are_exact(raw: str) -> None:
    """A fraction in an unknown field is a Decimal at any depth."""
    assert decode(m.Issuer, f'{{"new": {raw}}}').extra == {"new": json.loads(raw, parse_float=Decimal)}


@pytest.mark.parametrize("name", ["extra", "schema", "mark", "__class__", "self"])
def test_no_name_is_special(name: str) -> None:
    """A field of the response that is named like one of our attributes is an unknown field."""
    value = decode(m.Issuer, json.dumps({"id": "iss_1", name: 1}))
    assert value == m.Issuer(id="iss_1", extra={name: 1})


def test_page_names_are_not_special() -> None:
    """A page's two fields that are not the vendor's are never taken from the response."""
    page = decode(Page[m.Pass], '{"data": [], "has_more": false, "items": [1], "request_id": "req_1"}')
    assert (page.items, page.request_id) == ((), None)
    assert page.extra == {"items": [1], "request_id": "req_1"}


@pytest.mark.parametrize("cls", [m.Pass, m.Booking, m.CreditPurchase, m.Client])
def test_null_is_missing(cls: type[Resource]) -> None:
    """Null in every field is the same as an empty object."""
    names = [field.name for field in attrs.fields(cls) if field.name != "extra"]
    assert decode(cls, json.dumps(dict.fromkeys(names))) == decode(cls, "{}") == cls()


@pytest.mark.parametrize(
    ("field", "got", "expected"),
    [
        ("livemode", '"false"', "true or false"),
        ("livemode", "0", "true or false"),
        ("livemode", "1", "true or false"),
        ("name", "5", "text"),
        ("name", "true", "text"),
        ("name", "1.5", "text"),
        ("name", '["a"]', "text"),
        ("price", '"1500000"', "a number"),
        ("price", "true", "a number"),
        ("price", "[1]", "a number"),
        ("provider_count", "true", "a whole number"),
        ("provider_count", '"42"', "a whole number"),
        ("provider_count", "42.5", "a whole number"),
        ("provider_count", "1E+20001", "a whole number"),
        ("provider_count", "1E-999999", "a whole number"),
        ("created", "false", "a number"),
        ("duration", "1", "text"),
        ("categories", '{"type": "SPA"}', "a list"),
        ("categories", '"SPA"', "a list"),
    ],
)
def test_strict(field: str, got: str, expected: str) -> None:
    """A page field of another type is a fault with its path, the expected type, and the value."""
    assert list_problems(m.Pass, f'{{"{field}": {got}}}') == [f"$.{field}: expected {expected}, got {got}"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42.0", 42),
        ("-1.000", -1),
        ("4.2e1", 42),
        ("4200e-2", 42),
        ("-0.0", 0),
        ("0e999999999", 0),
        ("12345678901234567890.0", 12345678901234567890),
        ("1" + "0" * 5000 + ".0", 10**5000),
        ("1" + "0" * 5000, 10**5000),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_whole_numbers(text: str, number: int) -> None:
    """A whole number is one however it is written (JSON Schema 2020-12, 6.1.1)."""
    found = decode(m.Pass, f'{{"provider_count": {text}}}').provider_count
    assert type(found) is int
    assert found == number


def test_repr_of_a_long_number() -> None:
    """A value shows itself even with a number that Python refuses to print."""
    value = decode(m.Pass, '{"provider_count": 1' + "0" * 5000 + "}")
    assert "provider_count=<int>" in repr(value)


@pytest.mark.parametrize("text", ["1.00000000000000000000000001", "0.99999999999999999999999999"])
def test_nearly_whole(text: str) -> None:
    """A fraction that a float would round to a whole number is none."""
    assert list_problems(m.Pass, f'{{"provider_count": {text}}}') == [
        f"$.provider_count: expected a whole number, got {text}"
    ]


@pytest.mark.parametrize("text", ["1E+400", "-1E+400", "1" + "0" * 400, "1E+999999999999999999"])
@pytest.mark.parametrize(("cls", "field"), [(m.Provider, "lat"), (m.Pass, "created")])
def test_numbers_too_large(cls: type[Resource], field: str, text: str) -> None:
    """A number beyond the range of a field's type is a fault, or kept raw where the type is a guess."""
    body = f'{{"{field}": {text}}}'
    if cls is m.Pass:
        assert list_problems(cls, body)[0].startswith("$.created: expected a timestamp, got ")
    else:
        assert str(decode(cls, body).extra[field]) == text


def test_instant_in_any_context() -> None:
    """A caller's own decimal context moves no instant."""
    with decimal.localcontext(decimal.Context(prec=3, traps=[decimal.Inexact])):
        found = decode(m.Pass, '{"created": 1747724400.25}').created
    assert found == dt.datetime.fromtimestamp(1747724400.25, dt.UTC)


def test_none_is_no_text() -> None:
    """Null inside a list of texts is a fault and never the text 'None'."""
    text = '{"categories": [{"tiers": ["STANDARD", null]}]}'
    assert list_problems(m.Pass, text) == ["$.categories[0].tiers[1]: expected text, got null"]


@pytest.mark.parametrize("body", ["[]", '"pass"', "5", "null", "true", "0.1"])
def test_no_object(body: str) -> None:
    """A body that is not an object is a fault at the root."""
    assert list_problems(m.Pass, body) == [f"$: expected an object, got {body}"]


def test_all_faults_at_once() -> None:
    """Every fault of a body is reported with its path, even if the body is parsed again."""
    text = """{"balance": "x", "fee": 0.1, "currency": 5, "transactions": [{"amount": "abc"}, {"amount": 0.5},
    {"amount": true, "timestamp": "now", "type": 1.50}, "no"]}"""
    assert list_problems(m.ClientCredits, text) == [
        '$.balance: expected a number, got "x"',
        "$.currency: expected text, got 5",
        '$.transactions[0].amount: expected a number, got "abc"',
        "$.transactions[2].amount: expected a number, got true",
        '$.transactions[2].timestamp: expected a number, got "now"',
        "$.transactions[2].type: expected text, got 1.50",
        '$.transactions[3]: expected an object, got "no"',
    ]


def test_long_values_are_cut() -> None:
    """A fault shows only the start of a long value."""
    [said] = list_problems(m.Pass, json.dumps({"price": "x" * 1000}))
    assert len(said) < 120
    assert said.endswith("…")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[]", ["$: expected an object, got []"]),
        ("{}", ["$.data: expected a list, got null", "$.has_more: expected true or false, got null"]),
        ('{"data": null, "has_more": true}', ["$.data: expected a list, got null"]),
        ('{"data": {"a": 1}, "has_more": true}', ['$.data: expected a list, got {"a": 1}']),
        ('{"data": [], "has_more": "false"}', ['$.has_more: expected true or false, got "false"']),
        ('{"data": [], "has_more": 0, "url": 5}', [
            "$.has_more: expected true or false, got 0",
            "$.url: expected text, got 5",
        ]),
        ('{"data": [{"id": "a"}, {"id": true}, null], "has_more": null}', [
            "$.data[1].id: expected text, got true",
            "$.data[2]: expected an object, got null",
            "$.has_more: expected true or false, got null",
        ]),
    ],
)  # fmt: skip
def test_page_faults(body: str, expected: list[str]) -> None:
    """A list without its items or its end is a fault, never a short list."""
    assert list_problems(Page[m.Pass], body) == expected


@pytest.mark.parametrize(
    ("cls", "field", "raw"),
    [
        (m.ClassBookingInitiation, "cost_per_visit", "2500"),
        (m.ClassBookingInitiation, "copay_options", {"copay_package_id": "copay_abc123"}),
        (m.ClassBookingInitiation, "session_id", 5),
        (m.AccessCode, "expires_at", "2026-05-20T23:59:59+01:00"),
        (m.CreditPurchase, "balance", {"amount": 75}),
        (m.Booking, "refund", "none"),
        (m.Booking, "passcode", "ABC12345"),
        (m.Provider, "category", ["SPA", "GYM"]),
        (m.Provider, "lat", "6.5244"),
        (m.Provider, "copay_available", 1),
        (m.Client, "passes", ["pass_abc123"]),
        (m.FitnessClass, "category", {"id": "cat_1"}),
        (m.Availability, "slots", [{"time": "07:00"}]),
        (m.Availability, "date", "20 May"),
    ],
)
def test_guessed_fields_are_kept_raw(cls: type[Resource], field: str, raw: object) -> None:
    """A guide or inferred field of another type is kept raw in ``extra``, and its attribute stays None."""
    value = decode(cls, json.dumps({field: raw}))
    assert value == cls(extra={field: raw})
    assert getattr(value, field) is None


def test_guessed_field_inside_a_guessed_one() -> None:
    """Only the wrongly guessed part is kept raw, as close to its place as possible."""
    value = decode(m.Booking, '{"refund": {"amount": "5000", "currency": "NGN"}}')
    assert value.refund == m.RefundInfo(currency="NGN", extra={"amount": "5000"})
    assert value.extra == {}


def test_guessed_number_is_kept_exactly() -> None:
    """A raw value of a guessed field was never converted to a float."""
    assert decode(m.CopayOption, '{"visits": 2.50}') == m.CopayOption(extra={"visits": Decimal("2.50")})
    assert decode(m.CopayOption, '{"name": 2.50}') == m.CopayOption(extra={"name": Decimal("2.50")})
    assert decode(m.Availability, '{"slots": {"a": [0.1]}}').extra == {"slots": {"a": [Decimal("0.1")]}}


def test_guessed_fields_raise_nothing_for_any_type() -> None:
    """No type in a guide or inferred field is ever a fault."""
    for cls, names in find_guessed_fields().items():
        for raw in ANYTHING:
            assert isinstance(decode(cls, json.dumps(dict.fromkeys(names, raw))), cls)


ANYTHING: list[Any] = [5, "x", True, [1], {"a": 1}, -1, 10**30, 0.1, [None], [{}], [[]], ""]


def find_guessed_fields() -> dict[type[Resource], list[str]]:
    return {cls: [name for name, mark in read_marks(cls).items() if mark is not Mark.PAGE] for cls in RESOURCES}


def read_marks(cls: type[Resource]) -> dict[str, Mark]:
    """Read the marks from the annotations' text, independently of the converter."""
    words = {"FromPage": Mark.PAGE, "FromGuide": Mark.GUIDE, "Inferred": Mark.INFERRED}
    types = {
        name: str(kind)
        for base in reversed(cls.__mro__)
        for name, kind in vars(base).get("__annotations__", {}).items()
    }
    return {name: words[kind.split("[")[0]] for name, kind in types.items() if kind.split("[")[0] in words}


RESOURCES: list[type[Resource]] = [
    cls
    for name in m.__all__
    if isinstance(cls := getattr(m, name), type) and issubclass(cls, Resource) and cls not in (Resource, Page)
]


def test_deep_answers() -> None:
    """An extremely nested response is a fault like any other."""
    deep = '{"x":' * 1000 + "{}" + "}" * 1000
    assert list_problems(m.Pass, deep) == ["$: nested too deeply"]
    assert list_problems(m.Pass, deep.replace("{}", "0.1")) == ["$: nested too deeply"]
    [said] = list_problems(m.Pass, '{"fee": 0.1, "id":' + "[" * 1000 + "]" * 1000 + "}")
    # From Python 3.12 on the standard parser reads deeper, and the field itself is at fault.
    assert said.startswith(("$: nested too deeply", "$.id: expected text, got [[["))


# Requests


def test_unset_is_left_out() -> None:
    """An unset field is not in the body; None is sent as null."""
    assert dump_body(m.UpdateLookupEnabled()) == b"{}"
    assert dump_body(m.UpdateLookupEnabled(lookup_enabled=None)) == b'{"lookup_enabled":null}'
    assert dump_body(m.IssuePass(start_date=None, client_id="c")) == b'{"client_id":"c","start_date":null}'


def test_extra_is_merged() -> None:
    """``extra`` is encoded beside the declared fields, with exact numbers."""
    extra = {"gender": "F", "notes": [1, None, {"fee": Decimal("12345678901234567.89")}], "rate": 0.1}
    sent = dump_body(m.VerifyLookup(access_code="123456", extra=extra))
    assert sent == b'{"access_code":"123456","gender":"F","notes":[1,null,{"fee":12345678901234567.89}],"rate":0.1}'


@pytest.mark.parametrize(
    ("given", "sent"), [("annually", "ANNUALLY"), (Duration.ANNUALLY, "ANNUALLY"), ("Weekly", "Weekly")]
)
def test_request_enums(given: str, sent: str) -> None:
    """A text for an enum is sent in the vendor's case, an unknown one unchanged."""
    request = m.ConfirmClassBooking(number_of_visits=5, duration=given)
    assert json.loads(dump_body(request)) == {"number_of_visits": 5, "duration": sent}


def test_request_enum_may_be_null() -> None:
    """None for an enum is sent as null."""
    request = m.ConfirmClassBooking(copay_package_id="copay_abc123", duration=None)
    assert json.loads(dump_body(request)) == {"copay_package_id": "copay_abc123", "duration": None}


def test_text_goes_out_as_it_is() -> None:
    """Names with accents and quotes reach the server unchanged."""
    name = 'Olúwáṣeun "Ṣeun" O\'Neill\n'
    assert json.loads(dump_body(m.UpdateIssuedPass(first_name=name))) == {"first_name": name}


def make_loop() -> dict[str, Any]:
    extra: dict[str, Any] = {}
    extra["self"] = extra
    return extra


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"a": float("nan")}, "nan is not a JSON number"),
        ({"a": [{"b": float("inf")}]}, "inf is not a JSON number"),
        ({"a": (1, float("-inf"))}, "-inf is not a JSON number"),
        ({"a": Decimal("NaN")}, ""),
        ({"a": Decimal("Infinity")}, ""),
        ({"a": object()}, ""),
        ({"a": b"bytes"}, ""),
        ({"a": {5: "x"}}, "Dict key must be str"),
        ({"a": 2**70}, "Integer exceeds 64-bit range"),
        ({"a": "\ud800"}, "surrogates not allowed"),
        ({"a": m.Pass()}, ""),
        (make_loop(), "recursion"),
    ],
    ids=str,
)
def test_no_json(extra: dict[str, Any], why: str) -> None:
    """A value that JSON cannot hold is rejected, and the message names the request."""
    with pytest.raises(InvalidArgumentError, match=rf"^VerifyLookup: cannot be sent as JSON: .*{why}"):
        dump_body(m.VerifyLookup(access_code="123456", extra=extra))


def test_broken_text() -> None:
    """Text that is not valid Unicode is rejected in a declared field as well."""
    with pytest.raises(InvalidArgumentError, match=r"^VerifyLookup: cannot be sent as JSON: .*surrogates"):
        dump_body(m.VerifyLookup(access_code="\ud800"))


def test_dump_names_the_value() -> None:
    """A raw body of ``client.request`` is rejected under the name that the caller knows."""
    assert dump_json({"a": Decimal("1.10")}, "json") == b'{"a":1.10}'
    with pytest.raises(InvalidArgumentError, match=r"^json: cannot be sent as JSON: "):
        dump_json({"a": object()}, "json")


# Properties

PROPERTY = settings(deadline=None, derandomize=True, max_examples=300)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["SPA", "monthly", "2026-05-20", "2026-02-30", 1746700000000, 1747724400, "", "\x00"])
    | st.text()
)
NAMES = sorted({field.name for cls in RESOURCES for field in attrs.fields(cls)} | {"data", "has_more"})
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6),
    max_leaves=20,
)
PAGES: list[type[Resource]] = [Page[m.Pass], Page[m.CopayOption], Page[m.ClassCategory]]


def decode_or_faults(cls: type[T], value: Any) -> tuple[T | None, list[str]]:
    """Decode JSON of any shape; return the value or the faulty paths, and let any other error through."""
    try:
        return decode(cls, json.dumps(value)), []
    except StructureError as error:
        return None, [path for path, _ in error.mismatches]


@PROPERTY
@given(st.sampled_from([*RESOURCES, *PAGES]), VALUES)
def test_any_json(cls: type[Resource], value: Any) -> None:
    """Any JSON for any model decodes or is a fault with paths, and is never another error."""
    decoded, paths = decode_or_faults(cls, value)
    assert isinstance(decoded, Resource) is not bool(paths)


@PROPERTY
@given(st.data())
def test_any_object(data: st.DataObject) -> None:
    """Each of a model's own fields is in the value, in ``extra``, or in a fault that names it."""
    cls = data.draw(st.sampled_from(RESOURCES))
    names = [field.name for field in attrs.fields(cls) if field.name != "extra"]
    sent: dict[str, Any] = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=5))
    value, paths = decode_or_faults(cls, sent)
    if value is None:
        assert {path.split(".")[1].split("[")[0] for path in paths} <= set(sent)
    else:
        kept = {name for name in names if getattr(value, name) is not None} | set(value.extra)
        assert kept == {name for name in sent if sent[name] is not None}


MONEY = st.decimals(-(10**30), 10**30, allow_nan=False, allow_infinity=False)


@PROPERTY
@given(MONEY)
def test_money_round_trip(amount: Decimal) -> None:
    """An amount keeps its digits when sent and read back."""
    price = decode(m.Pass, dump_json({"price": amount}, "json").decode()).price
    assert price == amount


@PROPERTY
@given(st.integers(-(10**40), 10**40), st.integers(0, 30))
def test_money_digits(units: int, places: int) -> None:
    """An amount keeps its written digits, trailing zeros too."""
    text = f"{Decimal(units).scaleb(-places):f}" if places else str(units)
    amount = decode(m.CreditTransaction, '{"amount": ' + text + "}").amount
    assert f"{amount:f}" == text


@PROPERTY
@given(st.datetimes(dt.datetime(1974, 1, 1), dt.datetime(5138, 1, 1)), st.booleans())  # noqa: DTZ001 - hypothesis needs naive bounds
def test_any_instant(moment: dt.datetime, in_seconds: bool) -> None:
    """Any instant is read back from both units."""
    whole = moment.replace(microsecond=0, tzinfo=dt.UTC)
    number = int(whole.timestamp()) * (1 if in_seconds else 1000)
    assert decode(m.Pass, f'{{"created": {number}}}').created == whole
