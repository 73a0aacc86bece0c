"""Hostile files: each is read correctly, or rejected with line, column and reason before anything is sent."""

from __future__ import annotations

import json

import pytest
from click.testing import Result

from tests.batch_cli.conftest import BUY, PACKAGES, Operator, Scripted, make_purchase_csv
from tests.support.net import call_back_then
from tests.support.server import reply

HEAD = "id,client_id,package_id\n"
ROW = "1,client_abc123,cpkg_50\n"
LONG = "x" * 200_000


def check_file(operator: Operator, content: str | bytes, *arguments: str, name: str = "clients.csv") -> Result:
    """Check a file without running it."""
    path = operator.write_file(content, name)
    return operator.run_batch_command("run", path.name, *BUY, "--job", "j", "--dry-run", *arguments)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "clients.csv is empty"),
        ("\n\r\n \n", "clients.csv is empty"),
        (HEAD + "1,,cpkg_50\n", "clients.csv, line 2, column client_id: it is empty"),
        (HEAD + "1, ,cpkg_50\n", "clients.csv, line 2, column client_id: it is empty"),
        (HEAD + ",c,p\n", "clients.csv, line 2, column id: the id is empty"),
        (HEAD + "x" * 300 + ",c,p\n", "line 2, column id: an id has at most 255 characters"),
        (HEAD + "1,c\n", "clients.csv, line 2: it has 2 cells, the header has 3"),
        (HEAD + "1,c,p,more\n", "clients.csv, line 2: it has 4 cells, the header has 3"),
        (HEAD + ",,\n", "line 2, column id: the id is empty"),
        (HEAD + '1,"a\nb\r\nc",p\n2,,p\n', "clients.csv, line 5, column client_id: it is empty"),
        (HEAD + "\n\n1,,p\n", "clients.csv, line 4, column client_id: it is empty"),
        ("id,client_id,client_id,package_id\n", "line 1, column client_id: two columns have this name"),
        ("id,client_id,package_id,\n", "clients.csv, line 1: the name of column 4 is empty"),
        ("id,client_id\n1,c\n", "line 1, column package_id: credits.purchase needs it"),
        ("id;client_id;package_id\n1;c;p\n", "line 1: the cells are separated by semicolons; use commas"),
        ("id\tclient_id\tpackage_id\n", "line 1: the cells are separated by tabs; use commas"),
        (HEAD + '1,"client"_abc,p\n', 'line 2: a quote (") inside a cell is not doubled'),
        (HEAD + ROW + '2,"c,p\n3,c,p\n', 'line 3: a quote (") is left open to the end of the file'),
        (HEAD + f'1,"{LONG}\n{LONG}",p\n', "line 2: a cell has more than 131,072 characters"),
        (HEAD + f"1,{LONG * 6},p\n", "line 2: it has more than 1,048,576 characters"),
        (HEAD.encode() + b"1,caf\xe9,p\n", "line 2: it is not UTF-8 (byte 0xE9). Convert it: iconv -f WINDOWS-1252"),
        ((HEAD + ROW).encode("utf-16"), "line 1: the file is UTF-16, not UTF-8.\nConvert it: iconv -f UTF-16 -t UTF-8"),
        ((HEAD + ROW).encode("utf-32"), "line 1: the file is UTF-32, not UTF-8."),
        ((HEAD + ROW).encode("utf-16-le"), "line 1: it contains NUL bytes"),
        (HEAD + ROW + "2,a\0b,p\n", "clients.csv, line 3: it contains NUL bytes"),
        (HEAD + ROW + "\ufeff2,c,p\n", "line 3: it contains an invisible byte order mark (U+FEFF); were files joined?"),
        (b"PK\x03\x04 a sheet", "clients.csv is compressed, not text.\nSave the sheet as CSV"),
        (b"\x1f\x8b packed", "clients.csv is compressed, not text.\nDecompress it: zcat"),
        ('[{"id": "1"}]', "clients.csv is a single JSON array.\nWrite one object per line"),
    ],
)
def test_bad_file(operator: Operator, content: str | bytes, words: str) -> None:
    """A bad file is rejected with exit code 2, position and reason, and nothing is sent."""
    result = check_file(operator, content)
    assert words in result.stderr
    assert (result.exit_code, "Traceback" in result.stderr, len(operator.sandbox.requests)) == (2, False, 0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("5", "line 1: it is not a JSON object"),
        ("{", "line 1: it is not JSON: Expecting property name"),
        ('{"id": "1", "id": "2"}', "line 1: the name 'id' occurs twice in one object"),
        ('{"id": NaN}', "line 1: NaN is not JSON"),
        ('{"id": "1", "client_id": "c", "package_id": 50}', "line 1, column package_id: expected text, got 50"),
        ('{"id": "1", "client_id": "c"}', "line 1, column package_id: it is missing"),
        ('{"id": "1", "client_id": null, "package_id": "p"}', "line 1, column client_id: it is empty"),
        ('{"id": true, "client_id": "c", "package_id": "p"}', "line 1, column id: an id is text or a whole number"),
        ('{"id": "\\ud800", "client_id": "c", "package_id": "p"}', "line 1, column id: an id has at most 255"),
        ('{"id": "1", "client_id": "\\ud800", "package_id": "p"}', "line 1: PurchaseCredits: cannot be sent as JSON"),
        ('{"id": ' + "[" * 60_000, "line 1: it is nested too deeply"),
    ],
)
def test_bad_json_line(operator: Operator, line: str, words: str) -> None:
    """A bad line of JSONL is rejected with its number and reason."""
    result = check_file(operator, line + "\n", name="clients.jsonl")
    assert (result.exit_code, f"clients.jsonl, {words}" in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    "content",
    [
        HEAD + ROW,
        (HEAD + ROW).rstrip("\n"),
        "\ufeff" + HEAD + ROW,
        (HEAD + ROW).replace("\n", "\r\n"),
        (HEAD + ROW).replace("\n", "\r"),
        " id , client_id,package_id \n 1 , client_abc123 ,cpkg_50\n",
        '"id","client_id","package_id"\n"1","client_abc123","cpkg_50"\n',
        '{"id": 1, "client_id": "client_abc123", "package_id": "cpkg_50"}\n\n',
    ],
    ids=["plain", "no last line end", "BOM", "CRLF", "CR", "blanks", "quoted", "JSONL"],
)
def test_good_file(operator: Operator, content: str) -> None:
    """Each common form of one row runs as that row, and is reported with its status."""
    assert operator.run_file(content).exit_code == 0
    [row] = operator.read_results()
    assert {name.strip(): cell.strip() for name, cell in row.items() if name != "request_id"} == {
        "id": "1",
        "client_id": "client_abc123",
        "package_id": "cpkg_50",
        "status": "done",
        "error": "",
    }


def test_all_faults_are_counted(operator: Operator) -> None:
    """All rows are checked: every fault is counted, the first 20 are shown."""
    result = check_file(operator, HEAD + ",,\n" * 1000)
    assert "clients.csv has 3,000 errors; the first 20 are shown." in result.stderr
    assert result.stderr.count("clients.csv, line") == 20


def test_faults_as_json(operator: Operator) -> None:
    """``--json`` prints the faults for programs."""
    said = json.loads(check_file(operator, HEAD + "1,,p\n", "--json").stdout)
    assert said["exit_code"] == 2
    assert said["error"]["faults"] == [{"line": 2, "column": "client_id", "reason": "it is empty"}]


def test_a_good_row_among_bad_ones_is_not_sent(operator: Operator) -> None:
    """A single fault prevents all sending, and leaves no results."""
    assert operator.run_file(HEAD + ROW + "2,,p\n").exit_code == 2
    assert len(operator.sandbox.requests) == 0
    assert not (operator.folder / "clients.j.results.csv").exists()


@pytest.mark.parametrize("content", [HEAD, "\ufeff" + HEAD.rstrip("\n")])
def test_header_only(operator: Operator, content: str) -> None:
    """A header without rows is not a fault: there is nothing to do."""
    result = operator.run_file(content)
    assert (result.exit_code, "Nothing to do" in result.stderr) == (0, True)
    assert (
        operator.folder / "clients.j.results.csv"
    ).read_text() == "id,client_id,package_id,status,error,request_id\n"


@pytest.mark.parametrize(
    ("file", "words"), [("none.csv", "none.csv cannot be read: No such file"), (".", ". is a directory")]
)
def test_no_file(operator: Operator, file: str, words: str) -> None:
    """A missing file or a folder is reported by a message."""
    result = operator.run_batch_command("run", file, *BUY, "--job", "j", "--yes")
    assert (result.exit_code, words in result.stderr) == (2, True)


@pytest.mark.parametrize("at", [0, 1], ids=["before the first row", "in the middle"])
def test_file_that_changes(operator: Operator, scripted: Scripted, at: int) -> None:
    """A file that changes during the run stops the job with a message, and no results are invented."""
    path = operator.write_file(make_purchase_csv(3000))
    answers = [PACKAGES, reply(200, {"balance": 1})]
    answers[at] = call_back_then(lambda: path.write_text(make_purchase_csv(2)), answers[at])
    server = scripted(*answers)
    result = operator.run_batch_command("run", path.name, *BUY, "--job", "j", "--yes")
    assert (result.exit_code, "clients.csv was changed while it was read" in result.stderr) == (1, True), result.stderr
    assert len(server.requests) < 300
    assert not (operator.folder / "clients.j.results.csv").exists()
