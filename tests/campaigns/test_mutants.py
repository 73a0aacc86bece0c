"""Small changes that tests notice or not: the small form of ``python -m campaigns.mutants``."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaigns.mutants.__main__ import ROOMS, TESTS, TREE, main
from campaigns.mutants.changes import list_changes
from campaigns.mutants.judge import Mutant, Verdict, draw_mutants, find_tests, list_mutants, open_workshop

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
'''
TEST = """
from room.module import clip, count_down


def test_module():
    assert (clip(4), clip(5), clip(6), count_down(3)) == (4, 5, 5, 0)
"""
TESTED = ("test_module.py",)


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


def test_caught_and_equivalent(tree: Path) -> None:
    """A change is caught, and taken back; the next one, which is equivalent, survives; the work tree stays as it is."""
    flipped = find_mutant(tree, "comparison flipped", "number < 5")
    moved = find_mutant(tree, "boundary moved", "number < 5")
    with open_workshop(tree, 60.0) as workshop:
        assert workshop.check_tests(TESTED)
        assert workshop.judge(flipped, TESTED) is Verdict.CAUGHT
        assert workshop.judge(moved, TESTED) is Verdict.SURVIVED
    assert str(moved) == "room/module.py:4: boundary moved: number < 5  ->  (number <= 5)"
    assert (tree / "room" / "module.py").read_text() == MODULE


def test_endless_loop(tree: Path) -> None:
    """A change after which the tests never end is caught by the time limit."""
    with open_workshop(tree, 2.0) as workshop:
        endless = find_mutant(tree, "statement dropped", "number -= 1")
        assert workshop.judge(endless, TESTED) is Verdict.TIMED_OUT


def test_tests_that_fail_anyway(tree: Path) -> None:
    """Tests that fail without any change judge nothing."""
    (tree / "test_module.py").write_text("def test_module():\n    assert False\n")
    with open_workshop(tree, 60.0) as workshop:
        assert not workshop.check_tests(TESTED)


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
    """Every change to the five rooms changes the text, can be compiled, and has tests that exist."""
    for mutant in draw_mutants(mutants, 100, 1):
        source = (TREE / mutant.path).read_text(encoding="utf-8")
        assert mutant.change.apply(source) != source
        compile(mutant.change.apply(source), mutant.path, "exec")
    assert {mutant.path.rsplit("/", 1)[0] for mutant in mutants} == set(ROOMS)
    assert all((TREE / test).exists() for mutant in mutants for test in find_tests(TESTS, mutant.path))


def test_same_seed_same_changes(mutants: list[Mutant]) -> None:
    """A run can be reproduced by its seed."""
    assert draw_mutants(mutants, 5, 3) == draw_mutants(mutants, 5, 3) != draw_mutants(mutants, 5, 4)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The command says how many changes it judged; without time left it begins none."""
    assert main(["--changes", "3", "--seed", "1", "--seconds", "0"]) == 0
    assert capsys.readouterr().out.startswith("0 of ")
