"""One call of every endpoint: arguments, the expected request, a response from the notes, and its decoded value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

import attrs

from bardge_async import BardgeClient, Walk
from bardge_async import models as m

Made: TypeAlias = Awaitable[Any] | Walk[Any]


@attrs.frozen(kw_only=True)
class Example:
    """``path`` is relative to the base URL, ``sent`` the JSON body, ``result`` the items if the response is a list."""

    call: Callable[[BardgeClient], Made]
    path: str
    sent: Mapping[str, Any] | None = None
    answer: Any
    result: object
    query: Mapping[str, str] = attrs.field(factory=dict[str, str])


def parse_utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def make_page(*items: Mapping[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "has_more": False, "url": "/x", "message": "retrieved"}


CREATED: Final = parse_utc("2025-05-08T10:26:40")  # 1746700000000 milliseconds
BOOKED: Final = parse_utc("2025-05-20T00:13:20")  # 1747700000 seconds
SCHEDULED: Final = parse_utc("2025-05-20T07:00:00")  # 1747724400 seconds
ALL: Final = {"limit": "100"}

PASS: Final = {"object": "pass", "id": "pass_abc123", "name": "Gold", "price": 1500000, "created": 1746700000000}
PASS_VALUE: Final = m.Pass(object="pass", id="pass_abc123", name="Gold", price=Decimal(1500000), created=CREATED)
ISSUED: Final = {"object": "issued_pass", "id": "brgpass_abc123", "status": "ACTIVE", "start_date": 1746700000000}
ISSUED_VALUE: Final = m.IssuedPass(
    object="issued_pass", id="brgpass_abc123", status=m.IssuedPassState.ACTIVE, start_date=CREATED
)
CHANGED: Final = {"object": "issued_pass", "message": "Pass expiry updated successfully"}
CHANGED_VALUE: Final = m.IssuedPassMessage(object="issued_pass", message="Pass expiry updated successfully")
PROVIDER: Final = {"object": "provider", "id": "prov_1", "category": "gym", "lat": 6.45, "lon": 3.39}
PROVIDER_VALUE: Final = m.Provider(object="provider", id="prov_1", category=m.ProviderCategory.GYM, lat=6.45, lon=3.39)
BOOKING: Final = {
    "object": "booking",
    "id": "booking_2a4f8e1b3c5d9f7a",
    "status": "PENDING",
    "type": "class",
    "date": "2026-05-20",
    "time": "07:00",
    "scheduled_for": 1747724400,
    "created": 1747700000,
}
BOOKING_VALUE: Final = m.Booking(
    object="booking",
    id="booking_2a4f8e1b3c5d9f7a",
    status=m.BookingState.PENDING,
    type=m.BookingType.CLASS,
    date=dt.date(2026, 5, 20),
    time="07:00",
    scheduled_for=SCHEDULED,
    created=BOOKED,
)
BOUGHT: Final = {"copay_purchase_id": "cpp_1", "amount": 2500, "created": 1746700000000}
LOOKUP: Final = {"object": "lookup", "id": "lkp_1", "lookup_token": "lkpt_abc123"}
LOOKUP_VALUE: Final = m.Lookup(object="lookup", id="lkp_1", lookup_token="lkpt_abc123")

PASSES: Final[dict[str, Example]] = {
    "passes.list": Example(
        call=lambda b: b.passes.list(), path="/passes", query=ALL, answer=make_page(PASS), result=(PASS_VALUE,)
    ),
    "passes.issue": Example(
        call=lambda b: b.passes.issue(
            m.IssuePass(client_id="client_abc123", pass_id="pass_abc123", start_date=dt.date(2026, 5, 1))
        ),
        path="/issued_passes",
        sent={"client_id": "client_abc123", "pass_id": "pass_abc123", "start_date": "2026-05-01"},
        answer=ISSUED,
        result=ISSUED_VALUE,
    ),
    "passes.update": Example(
        call=lambda b: b.passes.update(m.UpdateIssuedPass(client_id="client_abc123", email=None)),
        path="/issued_passes/update",
        sent={"client_id": "client_abc123", "email": None},
        answer=CHANGED,
        result=CHANGED_VALUE,
    ),
    "passes.update_expiry": Example(
        call=lambda b: b.passes.update_expiry(
            "client_abc123", m.UpdateIssuedPassExpiry(expiry_date=dt.date(2026, 12, 31))
        ),
        path="/issued_passes/client_abc123/expiry",
        sent={"expiry_date": "2026-12-31"},
        answer=CHANGED,
        result=CHANGED_VALUE,
    ),
    "passes.get_issued": Example(
        call=lambda b: b.passes.get_issued("client_abc123"),
        path="/issued_passes/client_abc123",
        answer=ISSUED,
        result=ISSUED_VALUE,
    ),
    "providers.list": Example(
        call=lambda b: b.providers.list(lat=6.5, lon=-3.25),
        path="/providers",
        query={"lat": "6.5", "lon": "-3.25", "limit": "100"},
        answer=make_page(PROVIDER),
        result=(PROVIDER_VALUE,),
    ),
    "providers.list_for_pass": Example(
        call=lambda b: b.providers.list_for_pass("pass_abc123"),
        path="/passes/pass_abc123/providers",
        query=ALL,
        answer=make_page(PROVIDER),
        result=(PROVIDER_VALUE,),
    ),
    "access_codes.generate": Example(
        call=lambda b: b.access_codes.generate(m.AccessCodeRequest(client_id="c"), lookup_token="lkpt_abc123"),
        path="/access-codes",
        sent={"client_id": "c"},
        answer={"access_code": "tok", "qr_code": "data:image/png;base64,AA==", "expires_at": 1746700000000},
        result=m.AccessCode(access_code="tok", qr_code="data:image/png;base64,AA==", expires_at=CREATED),
    ),
}

CLASSES: Final[dict[str, Example]] = {
    "classes.list_categories": Example(
        call=lambda b: b.classes.list_categories(),
        path="/classes/categories",
        query=ALL,
        answer=[{"id": "cat_1", "name": "Yoga"}],
        result=(m.ClassCategory(id="cat_1", name="Yoga"),),
    ),
    "classes.list": Example(
        call=lambda b: b.classes.list(),
        path="/classes",
        query=ALL,
        answer=make_page({"id": "class_1", "name": "Yoga"}),
        result=(m.FitnessClass(id="class_1", name="Yoga"),),
    ),
    "classes.get": Example(
        call=lambda b: b.classes.get("class_1"),
        path="/classes/class_1",
        answer={"id": "class_1", "instances": [{"id": "ci_abc123", "date": "2026-05-20", "capacity": 12}]},
        result=m.FitnessClass(
            id="class_1", instances=(m.ClassInstance(id="ci_abc123", date=dt.date(2026, 5, 20), capacity=12),)
        ),
    ),
}

BOOKINGS: Final[dict[str, Example]] = {
    "bookings.initiate_class": Example(
        call=lambda b: b.bookings.initiate_class(
            m.BookClass(class_instance_id="ci_abc123", client_id="c"), lookup_token="lkpt_abc123"
        ),
        path="/bookings/class",
        sent={"class_instance_id": "ci_abc123", "client_id": "c"},
        answer={"object": "class_booking_initiation", "copay_required": True, "session_id": "sess_abc123def456"},
        result=m.ClassBookingInitiation(
            object="class_booking_initiation", copay_required=True, session_id="sess_abc123def456"
        ),
    ),
    "bookings.confirm_class": Example(
        call=lambda b: b.bookings.confirm_class(
            "sess_1", m.ConfirmClassBooking(number_of_visits=5, duration=m.Duration.ANNUALLY)
        ),
        path="/bookings/class/sess_1/confirm",
        sent={"number_of_visits": 5, "duration": "ANNUALLY"},
        answer=BOOKING,
        result=BOOKING_VALUE,
    ),
    "bookings.initiate_spa": Example(
        call=lambda b: b.bookings.initiate_spa(
            m.BookSpa(provider_id="prov_1", service_ids=("svc_1", "svc_2"), time="14:30"), lookup_token="lkpt_abc123"
        ),
        path="/bookings/spa",
        sent={"provider_id": "prov_1", "service_ids": ["svc_1", "svc_2"], "time": "14:30"},
        answer={"session_id": "sess_1", "services": [{"id": "svc_1", "price": 100, "covered": False}]},
        result=m.SpaBookingInitiation(
            session_id="sess_1", services=(m.ServicePreview(id="svc_1", price=Decimal(100), covered=False),)
        ),
    ),
    "bookings.confirm_spa": Example(
        call=lambda b: b.bookings.confirm_spa("sess_1"),
        path="/bookings/spa/sess_1/confirm",
        answer=BOOKING,
        result=BOOKING_VALUE,
    ),
    "bookings.list_for_client": Example(
        call=lambda b: b.bookings.list_for_client("client_abc123"),
        path="/clients/client_abc123/bookings",
        query=ALL,
        answer=make_page(BOOKING),
        result=(BOOKING_VALUE,),
    ),
    "bookings.get_status": Example(
        call=lambda b: b.bookings.get_status("booking_1"),
        path="/bookings/booking_1",
        answer={"id": "booking_1", "status": "confirmed", "type": "spa"},
        result=m.BookingStatus(id="booking_1", status=m.BookingState.CONFIRMED, type=m.BookingType.SPA),
    ),
    "bookings.cancel": Example(
        call=lambda b: b.bookings.cancel("booking_1"),
        path="/bookings/booking_1/cancel",
        answer={"object": "booking", "status": "CANCELLED", "refund": {"amount": 100, "visits_restored": 1}},
        result=m.Booking(
            object="booking",
            status=m.BookingState.CANCELLED,
            refund=m.RefundInfo(amount=Decimal(100), visits_restored=1),
        ),
    ),
    "bookings.reschedule": Example(
        call=lambda b: b.bookings.reschedule("booking_1", m.RescheduleBooking(class_instance_id="ci_2")),
        path="/bookings/booking_1/reschedule",
        sent={"class_instance_id": "ci_2"},
        answer=BOOKING,
        result=BOOKING_VALUE,
    ),
}

MONEY: Final[dict[str, Example]] = {
    "copay.list_gym_options": Example(
        call=lambda b: b.copay.list_gym_options("branch_1"),
        path="/providers/branch_1/gym-copay-options",
        query=ALL,
        answer=make_page({"copay_package_id": "copay_abc123", "price": 5000, "visits": 5}),
        result=(m.CopayOption(copay_package_id="copay_abc123", price=Decimal(5000), visits=5),),
    ),
    "copay.quote_spa": Example(
        call=lambda b: b.copay.quote_spa("prov_1", m.SpaCopayQuoteRequest(client_id="c", service_ids=("svc_1",))),
        path="/providers/prov_1/spa-copay-quote",
        sent={"client_id": "c", "service_ids": ["svc_1"]},
        answer={"quote_id": "quote_1", "amount": 2500, "expires_at": 1746700000000},
        result=m.SpaCopayQuote(quote_id="quote_1", amount=Decimal(2500), expires_at=CREATED),
    ),
    "copay.purchase_gym": Example(
        call=lambda b: b.copay.purchase_gym(
            m.PurchaseGymCopay(client_id="c", provider_id="prov_1", copay_package_id="copay_abc123")
        ),
        path="/gym_copay_purchases",
        sent={"client_id": "c", "provider_id": "prov_1", "copay_package_id": "copay_abc123"},
        answer=BOUGHT,
        result=m.GymCopayPurchase(copay_purchase_id="cpp_1", amount=Decimal(2500), created=CREATED),
    ),
    "copay.purchase_spa": Example(
        call=lambda b: b.copay.purchase_spa(
            m.PurchaseSpaCopay(client_id="c", provider_id="prov_1", quote_id="quote_1")
        ),
        path="/spa_copay_purchases",
        sent={"client_id": "c", "provider_id": "prov_1", "quote_id": "quote_1"},
        answer=BOUGHT,
        result=m.SpaCopayPurchase(copay_purchase_id="cpp_1", amount=Decimal(2500), created=CREATED),
    ),
    "copay.purchase_package": Example(
        call=lambda b: b.copay.purchase_package(
            m.PurchaseCopayPackage(client_id="c", provider_id="prov_1", quote_id="quote_1")
        ),
        path="/copay_purchases",
        sent={"client_id": "c", "provider_id": "prov_1", "quote_id": "quote_1"},
        answer=BOUGHT,
        result=m.CopayPurchase(copay_purchase_id="cpp_1", amount=Decimal(2500), created=CREATED),
    ),
    "credits.purchase": Example(
        call=lambda b: b.credits.purchase(m.PurchaseCredits(client_id="client_abc123", package_id="cpkg_50")),
        path="/credit_purchases",
        sent={"client_id": "client_abc123", "package_id": "cpkg_50"},
        answer={"balance": 75, "credits": 50},
        result=m.CreditPurchase(balance=Decimal(75), credits=Decimal(50)),
    ),
    "credits.list_packages": Example(
        call=lambda b: b.credits.list_packages(),
        path="/credit_packages",
        query=ALL,
        answer=make_page({"id": "cpkg_50", "name": "50 Credits Pack", "credits": 50}),
        result=(m.CreditPackage(id="cpkg_50", name="50 Credits Pack", credits=Decimal(50)),),
    ),
}

PEOPLE: Final[dict[str, Example]] = {
    "lookups.list_issuers": Example(
        call=lambda b: b.lookups.list_issuers(),
        path="/issuers",
        query=ALL,
        answer=make_page({"object": "issuer", "id": "iss_1", "name": "Lagos Health"}),
        result=(m.Issuer(object="issuer", id="iss_1", name="Lagos Health"),),
    ),
    "lookups.initiate": Example(
        call=lambda b: b.lookups.initiate(m.InitiateLookup(issuer_id="iss_1", client_id="c")),
        path="/lookups",
        sent={"issuer_id": "iss_1", "client_id": "c"},
        answer={"object": "lookup", "id": "lkp_1"},
        result=m.Lookup(object="lookup", id="lkp_1"),
    ),
    "lookups.verify": Example(
        call=lambda b: b.lookups.verify("lkp_1", m.VerifyLookup(access_code="123456")),
        path="/lookups/lkp_1/verify",
        sent={"access_code": "123456"},
        answer=LOOKUP,
        result=LOOKUP_VALUE,
    ),
    "clients.get": Example(
        call=lambda b: b.clients.get("client_abc123"),
        path="/clients/client_abc123",
        answer={"id": "client_abc123", "first_name": "Adaeze", "passes": [{"pass_id": "pass_abc123"}]},
        result=m.Client(id="client_abc123", first_name="Adaeze", passes=(m.PassRef(pass_id="pass_abc123"),)),
    ),
    "clients.get_credits": Example(
        call=lambda b: b.clients.get_credits("client_abc123"),
        path="/clients/client_abc123/credits",
        answer={"balance": 25, "transactions": [{"type": "DEBIT", "amount": 5, "timestamp": 1746700000000}]},
        result=m.ClientCredits(
            balance=Decimal(25),
            transactions=(m.CreditTransaction(type=m.TransactionType.DEBIT, amount=Decimal(5), timestamp=CREATED),),
        ),
    ),
}

EXAMPLES: Final[dict[str, Example]] = {**PASSES, **CLASSES, **BOOKINGS, **MONEY, **PEOPLE}
