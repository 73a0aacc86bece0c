"""From cells to requests, by the fields and types of the endpoint's request."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from bardge_async import ENDPOINTS, PurchaseCredits
from bardge_async.cli.batch._errors import InputErrors
from bardge_async.cli.batch._rows.columns import InputFields, list_batch_endpoints
from bardge_async.cli.batch._rows.file import InputFile
from bardge_async.cli.batch._rows.reader import InputRow, open_table
from bardge_async.cli.batch._rows.validation import OperationReader
from bardge_async.endpoints import Endpoint
from bardge_async.models import UNSET
from bardge_async.models._base import Body, Optional
from tests.batch_cli.conftest import Operator


@attrs.frozen(kw_only=True)
class Everything(Body):
    """A request with a field of every type that requests have."""

    text: str
    flag: Optional[bool] = UNSET
    whole: Optional[int] = UNSET
    money: Optional[Decimal] = UNSET
    day: Optional[dt.date] = UNSET
    words: Optional[tuple[str, ...]] = UNSET


ROW: Endpoint[Any, Any] = attrs.evolve(ENDPOINTS["credits.purchase"], request=Everything)


def build_operation(
    cells: dict[str, Any], row: Endpoint[Any, Any] = ROW, *, typed: bool = False
) -> tuple[Any, list[str]]:
    """Build an operation from cells, and return it with the faults."""
    faults = InputErrors("f")
    operation = InputFields(row, {}).build_operation(InputRow(2, cells), "1", faults.add_error, typed=typed)
    return operation, [f"{fault.column}: {fault.reason}" for fault in faults.shown]


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("text", " a b ", "a b"),
        ("text", "007", "007"),
        ("flag", "true", True),
        ("flag", "FALSE", False),
        ("whole", "12", 12),
        ("whole", "-3", -3),
        ("money", "12", Decimal(12)),
        ("money", "12.50", Decimal("12.50")),
        ("money", "12345678901234567.89", Decimal("12345678901234567.89")),
        ("day", "2026-12-31", dt.date(2026, 12, 31)),
        ("words", "a; b;c", ("a", "b", "c")),
        ("words", "a", ("a",)),
    ],
)
def test_cell(name: str, cell: str, value: object) -> None:
    """A CSV cell becomes a value of the field's type."""
    operation, faults = build_operation({"text": "t", name: cell})
    assert (faults, getattr(operation.request, name)) == ([], value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("text", "12"), ("flag", True), ("whole", 12), ("money", Decimal("1.50")), ("words", ("a", "b"))],
)
def test_json_value(name: str, value: Any) -> None:
    """A JSON value of the field's type is taken unchanged."""
    raw: Any = ["a", "b"] if name == "words" else value
    operation, faults = build_operation({"text": "t", name: raw}, typed=True)
    assert (faults, getattr(operation.request, name)) == ([], value)


@pytest.mark.parametrize(
    ("name", "cell", "reason"),
    [
        ("flag", "yes", 'expected true or false, got "yes"'),
        ("whole", "1.5", "expected a whole number, got 1.5"),
        ("whole", "1e3", 'expected a whole number, got "1e3"'),
        ("whole", "1_000", 'expected a whole number, got "1_000"'),
        ("whole", "9" * 50, "expected a whole number, got"),
        ("money", "1,50", 'expected a number, got "1,50"'),
        ("money", "NaN", 'expected a number, got "NaN"'),
        ("day", "31.12.2026", 'expected a day such as "2026-12-31", got "31.12.2026"'),
        ("day", "2026-02-30", 'expected a day such as "2026-12-31", got "2026-02-30"'),
    ],
)
def test_bad_cell(name: str, cell: str, reason: str) -> None:
    """A cell of another type is a fault that names the column and the value."""
    operation, faults = build_operation({"text": "t", name: cell})
    assert operation is None
    assert faults[0].startswith(f"{name}: {reason}")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("text", 5, "expected text, got 5"),
        ("whole", "12", 'expected a whole number, got "12"'),
        ("whole", "", 'expected a whole number, got ""'),
        ("flag", 1, "expected true or false, got 1"),
        ("words", "a", 'expected a list of texts, got "a"'),
        ("words", ["a", 1], "expected text, got 1"),
        ("day", 20261231, 'expected a day such as "2026-12-31", got 20261231'),
    ],
)
def test_bad_json_value(name: str, value: object, reason: str) -> None:
    """A JSON value of another type is a fault: nothing is converted."""
    assert build_operation({"text": "t", name: value}, typed=True) == (None, [f"{name}: {reason}"])


def test_empty_optional_cell_is_unset() -> None:
    """An empty cell leaves an optional field out; JSON's null is sent."""
    assert build_operation({"text": "t", "whole": " "})[0].request.whole is UNSET
    assert build_operation({"text": "t", "whole": None}, typed=True)[0].request.whole is None


def test_each_faulty_cell_of_a_row_is_told() -> None:
    """All cells of a row are checked."""
    assert [fault.partition(":")[0] for fault in build_operation({"flag": "x", "day": "y"})[1]] == [
        "text",
        "flag",
        "day",
    ]


@pytest.mark.parametrize("argument", [".", "..", "a\x01b"])
def test_path_argument(argument: str) -> None:
    """A path argument that would reach another URL is a fault of its cell."""
    cells = {"client_id": argument, "expiry_date": "2026-12-31"}
    operation, faults = build_operation(cells, ENDPOINTS["passes.update_expiry"])
    assert (operation, faults[0].startswith("client_id: client_id: ")) == (None, True)


def test_check_of_a_request() -> None:
    """The request class's own validation applies."""
    choice = "give at least one of copay_package_id, number_of_visits, duration"
    faults = build_operation({"session_id": "s"}, ENDPOINTS["bookings.confirm_class"])[1]
    assert faults == [f"None: ConfirmClassBooking: {choice}"]


def test_lookup_token() -> None:
    """An endpoint that takes a lookup token reads it from the column of that name, if there is one."""
    row = ENDPOINTS["access_codes.generate"]
    assert build_operation({"client_id": "c", "lookup_token": "lkpt_1"}, row)[0].lookup_token == "lkpt_1"
    assert build_operation({"client_id": "c"}, row)[0].lookup_token is None


@pytest.mark.parametrize("name", list_batch_endpoints())
def test_every_row_can_be_read(name: str) -> None:
    """Each field of each endpoint that takes a key has a type that cells can be read as."""
    row = ENDPOINTS[name]
    known = {field.name for field in InputFields(row, {}).all_fields}
    body = {a.name for a in attrs.fields(row.request)} - {"extra"} if row.takes_body else set[str]()
    assert known - {"lookup_token"} == body | set(row.path_parameters)


def test_one_operation_a_row(tmp_path: Path) -> None:
    """A file is read into operations with ids and lines, identically on every reading."""
    path = tmp_path / "f.csv"
    path.write_text("id,client_id,package_id\n1,a,p\n\n2,b,q\n")
    with InputFile(path, "f.csv") as source:
        table = open_table(source, InputErrors("f.csv"))
        reading = OperationReader(table, InputFields(ENDPOINTS["credits.purchase"], {}), "id")
        found = [[(line.line_number, one.id, one.request) for line, one in reading.read_operations()] for _ in range(2)]
    first, second = PurchaseCredits(client_id="a", package_id="p"), PurchaseCredits(client_id="b", package_id="q")
    assert found == [[(2, "1", first), (4, "2", second)]] * 2


ID_CASES: Final[list[tuple[str, list[str], str]]] = [
    ("client_id,package_id\nclient_abc123,p\n", [], "ids in column client_id"),
    ("client_id,id,package_id\nc,1,p\nc,2,p\n", [], "ids in column id"),
    ("n,client_id,package_id\n7,c,p\n8,c,p\n", ["--id", "n"], "ids in column n"),
    ("customer,package_id\nc,p\nd,p\n", ["--map", "client_id=customer"], "ids in column customer"),
]


@pytest.mark.parametrize(("content", "arguments", "words"), ID_CASES)
def test_id_column(operator: Operator, content: str, arguments: list[str], words: str) -> None:
    """Ids come from the named column, else from id, else from the client's id if unique."""
    operator.write_file(content)
    result = operator.run_batch_command(
        "run", "clients.csv", "--op", "credits.purchase", "--job", "j", "--dry-run", *arguments
    )
    assert (result.exit_code, words in result.stderr) == (0, True), result.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("client_id,package_id\nc,p\nc,p\n", [], "client_id is not unique ('c' is on line 2 and on line 3)"),
        ("n,client_id,package_id\n7,c,p\n8,c,q\n", [], "Columns with unique values: n, package_id."),
        ("client_id,package_id\nc,p\nc,p\n", [], "No column has unique values: add one."),
        ("first_name,package_id\nc,p\n", [], "has no column id or client_id"),
        ("id,client_id,package_id\n1,c,p\n2,c,p\n1,c,p\n", [], "line 4, column id: the id '1' is also on line 2"),
        ("id,client_id,package_id\n1,c,p\n 1,c,p\n", [], "line 3, column id: the id '1' is also on line 2"),
        ("id,client_id,package_id\n1,c,p\n", ["--id", "n"], "column n: --id names it, but it does not exist"),
        (
            "client_id,package_id\nc,p\nc,p\n",
            ["--id", "client_id"],
            "line 3, column client_id: the id 'c' is also on line 2",
        ),
        ('{"client_id": "c", "package_id": "p"}\n' * 2, [], "client_id is not unique"),
        ('{"id": 7, "client_id": "c", "package_id": "p"}\n' * 2, [], "line 2, column id: the id '7' is also on line 1"),
    ],
)
def test_no_unique_ids(operator: Operator, content: str, arguments: list[str], words: str) -> None:
    """Without a column of unique ids the run stops, names both lines, and says which option to pass."""
    operator.write_file(content)
    result = operator.run_batch_command(
        "run", "clients.csv", "--op", "credits.purchase", "--job", "j", "--yes", *arguments
    )
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert not operator.sandbox.requests


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("package_id=pack", "clients.csv, line 1, column pack: --map names it, but it does not exist"),
        ("pack=package_id", "credits.purchase has no field 'pack'.\nIt is one of: client_id, package_id"),
        ("package_id", "--map: expected FIELD=COLUMN, got 'package_id'"),
        ("=package_id", "--map: expected FIELD=COLUMN"),
    ],
)
def test_bad_map(operator: Operator, pair: str, words: str) -> None:
    """A --map that names no field is a fault."""
    operator.write_file("id,client_id,package_id\n1,c,p\n")
    arguments = ["--op", "credits.purchase", "--job", "j", "--dry-run", "--map", pair]
    result = operator.run_batch_command("run", "clients.csv", *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_bad_map_of_json(operator: Operator) -> None:
    """A --map of JSONL whose column is in no row is a fault, even for an optional field."""
    operator.write_file('{"client_id": "c"}\n')
    arguments = ["--op", "passes.update", "--job", "j", "--dry-run", "--map", "email=mail"]
    result = operator.run_batch_command("run", "clients.csv", *arguments)
    assert (result.exit_code, "column mail: --map names it, but it does not exist" in result.stderr) == (2, True)


def test_twice_mapped(operator: Operator) -> None:
    """A field that is mapped twice is a fault."""
    arguments = ["--op", "credits.purchase", "--job", "j", "--map", "client_id=a", "--map", "client_id=b"]
    assert "names a field twice" in operator.run_batch_command("run", "f", *arguments).stderr


def test_no_field_at_all(operator: Operator) -> None:
    """A file without a column for any field of a request is rejected, not read as empty requests."""
    operator.write_file("id,mail\n1,a\n")
    result = operator.run_batch_command("run", "clients.csv", "--op", "passes.issue", "--job", "j", "--dry-run")
    assert (result.exit_code, "no column is a field of passes.issue (client_id, pass_id," in result.stderr) == (2, True)


@pytest.mark.parametrize("name", ["nothing", "passes.list", "copay.quote_spa"])
def test_unknown_operation(operator: Operator, name: str) -> None:
    """An operation that takes no key, or does not exist, is rejected with the list of those that do."""
    result = operator.run_batch_command("run", "f", "--op", name, "--job", "j")
    assert (result.exit_code, "It is one of: passes.issue, passes.update," in result.stderr) == (2, True)
