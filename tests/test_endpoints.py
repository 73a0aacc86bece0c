"""The table compared with section 5 of the API notes, and path overrides."""

from __future__ import annotations

from types import NoneType
from typing import Any

import pytest

from bardge_async import BardgeClient, endpoints
from bardge_async._core.custom_endpoints import apply_key_overrides, apply_path_overrides, custom_endpoint
from bardge_async.endpoints import ENDPOINTS, Endpoint, KeySupport, RepeatEffect
from bardge_async.errors import ConfigurationError, InvalidArgumentError
from bardge_async.models import Body, Booking, Mark, Resource

# Name, method and path, mark, request -> response, headers, repeat: section 5's words without its remarks.
NOTES = """\
passes.list | GET /passes | page | → page of Pass | |
passes.issue | POST /issued_passes | guide | IssuePass → IssuedPass | K | twice
passes.update | POST /issued_passes/update | guide | UpdateIssuedPass → IssuedPassMessage | K | same
passes.update_expiry | POST /issued_passes/{client_id}/expiry | page | UpdateIssuedPassExpiry → IssuedPassMessage | K | same
passes.get_issued | GET /issued_passes/{client_id} | inferred | → IssuedPass | |
providers.list | GET /providers | guide | lat, lon → page of Provider | |
providers.list_for_pass | GET /passes/{pass_id}/providers | guide | lat, lon → page of Provider | |
access_codes.generate | POST /access-codes | guide | AccessCodeRequest → AccessCode | K L | twice
classes.list_categories | GET /classes/categories | inferred | → page or plain list of ClassCategory | |
classes.list | GET /classes | guide | → page of FitnessClass | |
classes.get | GET /classes/{class_id} | inferred | → FitnessClass | |
bookings.initiate_class | POST /bookings/class | page | BookClass → ClassBookingInitiation | K L | twice
bookings.confirm_class | POST /bookings/class/{session_id}/confirm | page | ConfirmClassBooking → Booking | K | twice
bookings.initiate_spa | POST /bookings/spa | guide | BookSpa → SpaBookingInitiation | K L | twice
bookings.confirm_spa | POST /bookings/spa/{session_id}/confirm | page | → Booking | K | twice
bookings.list_for_client | GET /clients/{client_id}/bookings | guide | → page of Booking | |
bookings.get_status | GET /bookings/{booking_id} | inferred | → BookingStatus | |
bookings.cancel | POST /bookings/{booking_id}/cancel | inferred | → Booking | K? | conflict
bookings.reschedule | POST /bookings/{booking_id}/reschedule | inferred | RescheduleBooking → Booking | K | twice
copay.list_gym_options | GET /providers/{provider_branch_id}/gym-copay-options | guide | → page of CopayOption | |
copay.quote_spa | POST /providers/{provider_id}/spa-copay-quote | guide | SpaCopayQuoteRequest → SpaCopayQuote | | same
copay.purchase_gym | POST /gym_copay_purchases | guide | PurchaseGymCopay → GymCopayPurchase | K | twice
copay.purchase_spa | POST /spa_copay_purchases | guide | PurchaseSpaCopay → SpaCopayPurchase | K | twice
copay.purchase_package | POST /copay_purchases | guide | PurchaseCopayPackage → CopayPurchase | K | twice
credits.purchase | POST /credit_purchases | guide | PurchaseCredits → CreditPurchase | K | twice
credits.list_packages | GET /credit_packages | guide | → page of CreditPackage | |
lookups.list_issuers | GET /issuers | guide | → page of Issuer | |
lookups.initiate | POST /lookups | guide | InitiateLookup → Lookup | K? | twice
lookups.verify | POST /lookups/{lookup_id}/verify | guide | VerifyLookup → Lookup | K? | conflict
clients.get | GET /clients/{client_id} | inferred | → Client | |
clients.get_credits | GET /clients/{client_id}/credits | page | → ClientCredits | |
"""

ROWS = list(ENDPOINTS.values())

# The lists of section 3 and 4, which repeat what the table says.
KEY_ACCEPTED = {
    "/issued_passes",
    "/issued_passes/update",
    "/issued_passes/{id}/expiry",
    "/access-codes",
    "/gym_copay_purchases",
    "/spa_copay_purchases",
    "/bookings/spa",
    "/bookings/class",
    "/credit_purchases",
}
PAGINATED = {
    "/passes",
    "/passes/{id}/providers",
    "/providers",
    "/providers/{providerBranchId}/gym-copay-options",
    "/issuers",
    "/classes",
    "/clients/{clientId}/bookings",
    "/credit_packages",
}


def describe_request(row: Endpoint[Any, Any]) -> str:
    return row.request.__name__ if row.takes_body else ", ".join(row.query)


def describe_response(row: Endpoint[Any, Any]) -> str:
    if row.item is None:
        return str(row.response.__name__)
    return f"page {'or plain list ' if row.bare_list else ''}of {row.item.__name__}"


def format_as_notes(row: Endpoint[Any, Any]) -> str:
    cells = (
        row.name,
        f"{row.method} {row.path}",
        row.mark,
        f"{describe_request(row)} → {describe_response(row)}",
        f"{row.key}{' L' if row.lookup_token else ''}",
        row.repeat_effect or "",
    )
    return " | ".join(cell.strip() for cell in cells)


def drop_placeholder_names(path: str) -> str:
    """Remove the placeholders' names: the vendor writes them in several ways."""
    return "/".join("{}" if segment.startswith("{") else segment for segment in path.split("/"))


def split_cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def test_names() -> None:
    """The endpoints are the 31 of the notes, in their order."""
    assert list(ENDPOINTS) == [split_cells(line)[0] for line in NOTES.splitlines()]
    assert len(ENDPOINTS) == 31


@pytest.mark.parametrize("line", NOTES.splitlines(), ids=lambda line: line.split(" |", 1)[0])
def test_row(line: str) -> None:
    """An endpoint agrees with the notes: method, path, mark, classes, headers, effect of a repeat."""
    row = ENDPOINTS[split_cells(line)[0]]
    assert split_cells(format_as_notes(row)) == split_cells(line)


def test_constants() -> None:
    """Every endpoint has a public constant, and every public constant in capitals is an endpoint or the table."""
    constants = {name: getattr(endpoints, name) for name in endpoints.__all__ if name.isupper()}
    del constants["ENDPOINTS"]
    assert {id(row) for row in constants.values()} == {id(row) for row in ROWS}
    assert len(constants) == len(ROWS)


def test_table_is_read_only() -> None:
    """The table cannot be changed at run time."""
    with pytest.raises(TypeError):
        ENDPOINTS["passes.list"] = ROWS[1]  # type: ignore[index]  # pyright: ignore[reportIndexIssue] - that is the claim


def test_key_list() -> None:
    """Every path of the vendor's list of endpoints that accept a key is a K endpoint."""
    keyed = {drop_placeholder_names(row.path) for row in ROWS if row.key is KeySupport.YES}
    assert {drop_placeholder_names(path) for path in KEY_ACCEPTED} <= keyed


def test_pagination_list() -> None:
    """The lists are those of section 4, and the categories, whose response may also be a bare list."""
    lists = {drop_placeholder_names(row.path) for row in ROWS if row.paginated and not row.bare_list}
    assert lists == {drop_placeholder_names(path) for path in PAGINATED}
    assert [row.name for row in ROWS if row.bare_list] == ["classes.list_categories"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_coherent(row: Endpoint[Any, Any]) -> None:
    """A GET has neither body, key nor repeat effect; a POST has a repeat effect."""
    if row.method == "GET":
        assert (row.request, row.key, row.repeat_effect, row.lookup_token) == (NoneType, KeySupport.NO, None, False)
    else:
        assert row.method == "POST"
        assert isinstance(row.repeat_effect, RepeatEffect)
        assert not row.takes_body or issubclass(row.request, Body)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_cursor(row: Endpoint[Any, Any]) -> None:
    """The cursor field of a list is a field of its items."""
    if row.item is not None:
        assert issubclass(row.item, Resource)
        assert hasattr(row.item(), row.cursor)
        assert (row.cursor == "copay_package_id") == (row.name == "copay.list_gym_options")


def test_path_parameters() -> None:
    """The names of the placeholders are derived from the path."""
    assert endpoints.UPDATE_EXPIRY.path_parameters == ("client_id",)
    assert endpoints.LIST_PASSES.path_parameters == ()


def test_item() -> None:
    """The class of a list's items is derived from the response, and None if it is no list."""
    assert endpoints.LIST_CLIENT_BOOKINGS.item is Booking
    assert endpoints.GET_CLIENT.item is None


@pytest.mark.parametrize("paths", [None, {}])
def test_uncorrected(paths: dict[str, str] | None) -> None:
    """Without overrides every endpoint keeps its own path."""
    assert apply_path_overrides(paths) == {row.name: row.path for row in ROWS}


def test_corrected() -> None:
    """An override replaces one endpoint's path and leaves the table itself alone."""
    table = apply_path_overrides({"bookings.cancel": "/bookings/{booking_id}"})
    assert table.pop("bookings.cancel") == "/bookings/{booking_id}"
    assert table == {row.name: row.path for row in ROWS if row.name != "bookings.cancel"}
    assert ENDPOINTS["bookings.cancel"].path == "/bookings/{booking_id}/cancel"


@pytest.mark.parametrize("path", ["/classes/all-of_them.v2~", "/v4/classes"])
def test_plain_segments(path: str) -> None:
    """Letters, digits and the unreserved marks of a URL are allowed."""
    assert apply_path_overrides({"classes.list": path})["classes.list"] == path


def test_unknown_row() -> None:
    """An override of an unknown endpoint is rejected, and the message names it."""
    with pytest.raises(ConfigurationError, match=r"no endpoint is named 'bookings.cancle'"):
        apply_path_overrides({"bookings.cancle": "/bookings/{booking_id}"})


@pytest.mark.parametrize(
    "path",
    [
        "/bookings/{id}/cancel",
        "/bookings/cancel",
        "/bookings/{booking_id}/{reason}",
        "/bookings/{booking_id}/{booking_id}",
        "/bookings/{}/cancel",
        "/bookings/{0}/cancel",
        "/bookings/{booking_id.x}/cancel",
    ],
)
def test_wrong_placeholders(path: str) -> None:
    """Other placeholders than the endpoint's are rejected, and the message names endpoint and placeholders."""
    with pytest.raises(ConfigurationError) as caught:
        apply_path_overrides({"bookings.cancel": path})
    assert str(caught.value).startswith(f"paths['bookings.cancel']: {path!r} must contain the placeholders of ")
    assert str(caught.value).endswith(": {booking_id}")


def test_placeholder_where_none_is_wanted() -> None:
    """A placeholder on an endpoint without any is rejected, and the message says that none is expected."""
    with pytest.raises(ConfigurationError, match="must contain the placeholders of '/passes': none"):
        apply_path_overrides({"passes.list": "/passes/{client_id}"})


@pytest.mark.parametrize("path", ["/bookings/{booking_id", "/bookings/booking_id}", 5, None])
def test_no_template(path: Any) -> None:
    """Text with a lone brace, and what is not text, is rejected as a template."""
    with pytest.raises(ConfigurationError, match="is not a path template"):
        apply_path_overrides({"bookings.cancel": path})


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "passes",
        "/passes/",
        "//passes",
        "/passes?limit=1",
        "/passes#top",
        "/pas ses",
        "/passes\r\nX: y",
        "/passes\n",
        "/pässe",
        "/passes/%2e%2e",
        "https://example.com/passes",
        "/{{passes}}",
    ],
)
def test_wrong_path(path: str) -> None:
    """A path that is not a plain absolute path is rejected."""
    with pytest.raises(ConfigurationError, match="must start with / and consist of plain URL segments"):
        apply_path_overrides({"passes.list": path})


@pytest.mark.parametrize("path", ["/clients/{client_id!r}", "/clients/{client_id:>10}"])
def test_format_tricks(path: str) -> None:
    """A conversion or a format inside a placeholder is rejected."""
    with pytest.raises(ConfigurationError, match="plain URL segments"):
        apply_path_overrides({"clients.get": path})


@pytest.mark.parametrize("path", ["/clients/../{client_id}", "/./{client_id}", "/{client_id}/.."])
def test_dot_segments(path: str) -> None:
    """A path that would be normalised to another one is rejected."""
    with pytest.raises(ConfigurationError, match="plain URL segments"):
        apply_path_overrides({"clients.get": path})


def make_endpoint(method: str, path: Any, *, body: bool = False, keyed: bool = False) -> Endpoint[Any, object]:
    return custom_endpoint(method, path, object, body=body, keyed=keyed)


def test_free_get() -> None:
    """A custom GET takes neither key nor body, and nothing about it is known."""
    row = make_endpoint("GET", "/clients/client_abc123")
    assert (row.name, row.method, row.path) == ("GET /clients/client_abc123", "GET", "/clients/client_abc123")
    assert (row.mark, row.key, row.repeat_effect, row.takes_body) == (Mark.INFERRED, KeySupport.NO, None, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(("keyed", "key"), [(True, KeySupport.YES), (False, KeySupport.UNPROVEN)])
def test_free_change(method: str, keyed: bool, key: KeySupport) -> None:
    """Any custom change counts as charging; its key protects it only if the caller says so."""
    row = make_endpoint(method, "/passcodes", body=True, keyed=keyed)
    assert (row.method, row.key, row.repeat_effect, row.takes_body) == (method, key, RepeatEffect.DUPLICATES, True)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/a/b", "/a/b"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/Ṣeun", "/%E1%B9%A2eun"),
        ("/{client_id}", "/%7Bclient_id%7D"),
        ("/a:b@c,d;e=f", "/a:b@c,d;e=f"),
    ],
)
def test_free_path(path: str, sent: str) -> None:
    """A custom path is encoded once: escapes stay, and braces are no placeholders."""
    row = make_endpoint("GET", path)
    assert (row.path, row.path_parameters) == (sent, ())


@pytest.mark.parametrize("method", ["get", "HEAD", "CONNECT", "", "GET ", None])
def test_free_method(method: Any) -> None:
    """An unknown method is rejected, and the message lists the known ones."""
    with pytest.raises(InvalidArgumentError, match=r"^method: expected one of GET, POST, PUT, PATCH, DELETE, got "):
        make_endpoint(method, "/passes")


@pytest.mark.parametrize("path", ["", "passes", "https://example.com/", "?limit=1", None, 5, b"/passes"])
def test_free_path_is_absolute(path: Any) -> None:
    """A custom path that is no text below the base URL is rejected."""
    with pytest.raises(InvalidArgumentError, match=r"^path: expected text that starts with /, got "):
        make_endpoint("GET", path)


@pytest.mark.parametrize("path", ["/a?b=c", "/a#b", "/a\\..\\b", "/a\r\nX: y", "/a\x00", "/a\ud800", "/100%", "/%zz"])
def test_free_path_is_a_path_only(path: str) -> None:
    """Query, fragment, backslash, control characters and stray escapes are rejected."""
    with pytest.raises(InvalidArgumentError, match="a backslash, a control character or a stray %"):
        make_endpoint("GET", path)


@pytest.mark.parametrize("path", ["/", "//a", "/a/", "/a//b", "/./a", "/a/..", "/%2e%2e/a", "/a/.%2E/b", "/%2E"])
def test_free_path_stays(path: str) -> None:
    """Empty and dot segments, also encoded, would reach another URL and are rejected."""
    with pytest.raises(InvalidArgumentError, match=r"would reach another URL$"):
        make_endpoint("GET", path)


MARKED_KEYS = {"copay.purchase_package": Mark.GUIDE, "bookings.reschedule": Mark.GUIDE}
MARKED_TOKENS = {
    "bookings.initiate_class": Mark.PAGE,
    "access_codes.generate": Mark.GUIDE,
    "bookings.initiate_spa": Mark.INFERRED,
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_marks_of_headers_and_paging(row: Endpoint[Any, Any]) -> None:
    """Key, lookup token and paging have the marks of the notes' sections 4 and 5, apart from the path's."""
    by_support = {KeySupport.YES: Mark.PAGE, KeySupport.UNPROVEN: Mark.INFERRED, KeySupport.NO: None}
    paging = Mark.INFERRED if row.name == "classes.list_categories" else Mark.PAGE
    assert row.key_mark is MARKED_KEYS.get(row.name, by_support[row.key])
    assert row.lookup_token_mark is MARKED_TOKENS.get(row.name)
    assert row.paging_mark is (paging if row.paginated else None)


def test_keyed() -> None:
    """The user's word replaces the table's; what says the same as the table changes nothing."""
    keyed = {"bookings.cancel": True, "credits.purchase": False, "passes.issue": True, "lookups.verify": False}
    assert {name: row.key for name, row in apply_key_overrides(keyed).items()} == {
        "bookings.cancel": KeySupport.YES,
        "credits.purchase": KeySupport.UNPROVEN,
    }


@pytest.mark.parametrize(
    ("keyed", "said"),
    [
        (["bookings.cancel"], "keyed: expected a mapping of endpoint names to True or False"),
        ({"bookings.cancle": True}, "keyed: no endpoint is named 'bookings.cancle'"),
        ({5: True}, "keyed: no endpoint is named 5"),
        ({"bookings.cancel": "yes"}, "keyed['bookings.cancel']: expected True or False, got 'yes'"),
        ({"bookings.cancel": 1}, "keyed['bookings.cancel']: expected True or False, got 1"),
        ({"passes.list": True}, "keyed['passes.list']: a call of this endpoint carries no idempotency key"),
        ({"copay.quote_spa": False}, "keyed['copay.quote_spa']: a call of this endpoint carries no idempotency key"),
    ],
)
def test_wrong_keyed(keyed: Any, said: str) -> None:
    """A wrong override is refused when the client is made; the message names it."""
    with pytest.raises(ConfigurationError) as caught:
        BardgeClient("key", "http://127.0.0.1:1", keyed=keyed)
    assert str(caught.value).startswith(said)
