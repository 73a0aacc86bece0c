"""Small changes that tests notice or not: the small form of ``python -m campaigns.mutants``."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaigns.mutants.__main__ import ROOMS, TREE, list_test_files, main, record_tests
from campaigns.mutants.changes import Change, Mutant, draw_mutants, list_changes, list_mutants
from campaigns.mutants.judge import Judgement, Verdict, Workshop, open_workshop
from campaigns.mutants.records import Records

MODULE = '''
def clip(number):
    """Return a number, or 5 if it is larger."""
    if number < 5:
        return number
    return 5


def count_down(number):
    while number > 0:
        number -= 1
    return number


STEP = 1
'''
TEST = """
import subprocess
import sys

import pytest
from room.module import clip, count_down


@pytest.mark.parametrize("number", [4, 5, 6])
def test_clip(number):
    assert clip(number) == min(number, 5)


def test_count_down():
    assert count_down(3) == 0


def test_elsewhere():
    subprocess.run([sys.executable, "-c", "from room.module import clip; clip(9)"], check=True)
"""
LINES = {
    2: {"test_clip[4]", "test_clip[5]", "test_clip[6]", "test_elsewhere"},
    5: {"test_clip[4]"},
    6: {"test_clip[5]", "test_clip[6]", "test_elsewhere"},
    11: {"test_count_down"},
    15: {"test_clip[4]", "test_clip[5]", "test_clip[6]", "test_count_down", "test_elsewhere"},
}
"""By line of the module: the tests that a change there concerns."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of one module and its test."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "module.py").write_text(MODULE)
    (tmp_path / "test_module.py").write_text(TEST)
    return tmp_path


@pytest.fixture(scope="module")
def mutants() -> list[Mutant]:
    """All changes to the five rooms."""
    return list_mutants(TREE, ROOMS)


def find_mutant(tree: Path, kind: str, before: str) -> Mutant:
    """Return the one change of a kind to a piece of text."""
    [found] = [it for it in list_mutants(tree, ["room"]) if (it.change.kind, it.change.before) == (kind, before)]
    return found


def record(workshop: Workshop, tree: Path) -> Records:
    """Record what the one file of tests executes."""
    folder = tree / "records"
    folder.mkdir()
    record_tests([workshop], ["test_module.py"], ["room"], folder)
    return Records.read(folder)


def test_caught_and_equivalent(tree: Path) -> None:
    """A change is caught, and taken back; the next one, which is equivalent, survives; the work tree stays as it is."""
    flipped = find_mutant(tree, "comparison flipped", "number < 5")
    moved = find_mutant(tree, "boundary moved", "number < 5")
    with open_workshop(tree, 60.0) as workshop:
        records = record(workshop, tree)
        caught = workshop.judge(flipped, records)
        assert workshop.judge(moved, records) == Judgement(Verdict.SURVIVED, "", 4)
    assert caught.verdict is Verdict.CAUGHT
    assert caught.test.startswith("test_module.py::test_clip[")
    assert str(moved) == "room/module.py:4: boundary moved: number < 5  ->  (number <= 5)"
    assert (tree / "room" / "module.py").read_text() == MODULE


def test_endless_loop(tree: Path) -> None:
    """A change after which the tests never end is caught by the time limit."""
    endless = find_mutant(tree, "statement dropped", "number -= 1")
    with open_workshop(tree, 60.0) as workshop, open_workshop(tree, 3.0) as impatient:
        assert impatient.judge(endless, record(workshop, tree)).verdict is Verdict.TIMED_OUT


def test_who_executes_a_line(tree: Path) -> None:
    """The tests of a line are those that execute it, in another process, too; of a constant, those of its module."""
    with open_workshop(tree, 60.0) as workshop:
        records = record(workshop, tree)
    for line, names in LINES.items():
        mutant = Mutant("room/module.py", Change(line, "any", "", "", 0, 0))
        assert {test.partition("::")[2] for test in records.find_tests(mutant, MODULE)} == names


def test_tests_that_fail_anyway(tree: Path) -> None:
    """Tests that fail without any change are named, and judge nothing."""
    (tree / "test_module.py").write_text(f"{TEST}\n\ndef test_red():\n    assert clip(4) == 5\n")
    with open_workshop(tree, 60.0) as workshop:
        records = record(workshop, tree)
    assert records.failed == ["test_module.py::test_red"]
    assert "test_module.py::test_red" not in records.seconds


CHANGES = {
    "if a < b: pass": ["boundary moved a < b (a <= b)", "comparison flipped a < b (a >= b)"],
    "if a is None and b: pass": [
        "and, or swapped a is None and b (a is None or b)",
        "condition negated a is None and b (not (a is None and b))",
        "comparison flipped a is None (a is not None)",
    ],
    "x = 1 if not a else 2": [
        "constant changed 1 2",
        "condition negated not a (a)",
        "constant changed 2 3",
    ],
    "def f():\n    '''Text.'''\n    g()": ["statement dropped g() pass"],
    "def f(a: int = 3) -> int:\n    b = a\n    a = b\n    return b": [
        "constant changed 3 4",
        "statement dropped a = b pass",
    ],
    "def f(a):\n    if a:\n        return b\n    raise a": [
        "condition negated a (not (a))",
        "statement dropped return b pass",
        "statement dropped raise a pass",
    ],
    "def f(a):\n    if a:\n        a.b = True": [
        "condition negated a (not (a))",
        "statement dropped a.b = True pass",
        "constant changed True False",
    ],
    "if TYPE_CHECKING:\n    x = 1": [],
    "x: Literal[1] = 'é'; y = 7": ["constant changed 7 8"],
    "assert a < b": [],
    "x = f'{a < b}'": [],
}


@pytest.mark.parametrize("source", CHANGES)
def test_changes(source: str) -> None:
    """Comparisons, boundaries, conditions, statements and constants are changed, one at a time, where code runs."""
    found = [f"{change.kind} {change.before} {change.after}" for change in list_changes(source)]
    assert sorted(found) == sorted(CHANGES[source])


def test_changes_are_code(mutants: list[Mutant]) -> None:
    """Every change to the five rooms changes the text and can be compiled."""
    for mutant in draw_mutants(mutants, 100, 1):
        source = (TREE / mutant.path).read_text(encoding="utf-8")
        assert mutant.change.apply(source) != source
        compile(mutant.change.apply(source), mutant.path, "exec")
    assert {mutant.path.rsplit("/", 1)[0] for mutant in mutants} == set(ROOMS)


def test_same_seed_same_changes(mutants: list[Mutant]) -> None:
    """A run can be reproduced by its seed."""
    assert draw_mutants(mutants, 5, 3) == draw_mutants(mutants, 5, 3) != draw_mutants(mutants, 5, 4)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The command says how many changes it judged; without time left it begins none."""
    files = list_test_files(TREE)
    assert "tests/journal/test_rules.py" in files
    assert "tests/campaigns/test_mutants.py" not in files
    assert main(["--changes", "3", "--seed", "1", "--seconds", "0"]) == 0
    assert capsys.readouterr().out.startswith("0 of ")
