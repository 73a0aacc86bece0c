"""Find the small changes that can be made to a module's text, each at one place."""

from __future__ import annotations

import ast
import copy
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import attrs

_FLIPPED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_MOVED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_DROPPED: Final = (ast.AugAssign, ast.Raise, ast.Return, ast.Delete, ast.Continue, ast.Break)


@attrs.frozen
class Change:
    """One change: the bytes from ``start`` to ``end`` of a module become ``after``."""

    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int

    def apply(self, source: str) -> str:
        """Return the changed text of the module."""
        content = source.encode()
        return (content[: self.start] + self.after.encode() + content[self.end :]).decode()

    def __str__(self) -> str:
        return f"{self.kind}: {_shorten(self.before)}  ->  {_shorten(self.after)}"


@attrs.frozen
class Mutant:
    """A change to one file of the tree."""

    path: str
    change: Change

    def __str__(self) -> str:
        return f"{self.path}:{self.change.line}: {self.change}"


def list_mutants(tree: Path, folders: Sequence[str]) -> list[Mutant]:
    """Return all changes to the modules below some folders of a tree."""
    files = sorted(path for folder in folders for path in (tree / folder).rglob("*.py"))
    return [
        Mutant(path.relative_to(tree).as_posix(), change)
        for path in files
        for change in list_changes(path.read_text(encoding="utf-8"))
    ]


def draw_mutants(mutants: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """Draw a number of changes; the same seed draws the same ones from the same tree."""
    return random.Random(seed).sample(mutants, min(number, len(mutants)))


def list_changes(source: str) -> list[Change]:
    """Return all changes of a module, in the order of its text."""
    finder = _ChangeFinder(source)
    finder.visit(ast.parse(source))
    return sorted(finder.changes, key=lambda change: (change.start, change.end, change.kind, change.after))


def _shorten(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 100 else f"{words[:97]}..."


class _ChangeFinder(ast.NodeVisitor):
    """Collect changes; annotations, decorators, docstrings, assertions and what only type checkers see stay."""

    def __init__(self, source: str) -> None:
        self.changes: list[Change] = []
        self._content = source.encode()
        self._line_starts = [0]
        for line in self._content.split(b"\n"):
            self._line_starts.append(self._line_starts[-1] + len(line) + 1)
        self._stores: Counter[str] = Counter()

    def _add(self, kind: str, node: ast.expr | ast.stmt, after: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._line_starts[node.lineno - 1] + node.col_offset
        end = self._line_starts[node.end_lineno - 1] + node.end_col_offset
        before = self._content[start:end].decode()
        self.changes.append(Change(node.lineno, kind, before, after, start, end))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Skip: before Python 3.12 what stands in a formatted string has no position of its own."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """Skip: what is asserted was established before, for type checkers."""

    def visit_Compare(self, node: ast.Compare) -> None:
        for index, operator in enumerate(node.ops):
            for kind, table in (("comparison flipped", _FLIPPED), ("boundary moved", _MOVED)):
                other = table.get(type(operator))
                if other is not None:
                    changed = copy.deepcopy(node)
                    changed.ops[index] = other()
                    self._add(kind, node, f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        changed = copy.deepcopy(node)
        changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._add("and, or swapped", node, f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self._negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._negate(test)
        self.generic_visit(node)

    def _negate(self, test: ast.expr) -> None:
        # A single comparison is flipped already, and the negation of the constant in an endless loop ends it.
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            self._add("condition negated", test, f"({ast.unparse(test.operand)})")
        elif not (isinstance(test, ast.Compare) and len(test.ops) == 1) and not isinstance(test, ast.Constant):
            self._add("condition negated", test, f"(not ({ast.unparse(test)}))")

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._add("constant changed", node, repr(not node.value))
        elif isinstance(node.value, (int, float)):
            self._add("constant changed", node, repr(node.value + 1))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, self._stores = self._stores, _count_stores(node)
        for default in (*node.args.defaults, *(it for it in node.args.kw_defaults if it is not None)):
            self.visit(default)
        for statement in node.body:
            # Without what it returns at its end a function is of no use to any test.
            if statement is not node.body[-1] or not isinstance(statement, ast.Return):
                self._drop(statement)
            self.visit(statement)
        self._stores = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._stores = self._stores, Counter()
        for statement in node.body:
            self.visit(statement)
        self._stores = outer

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def generic_visit(self, node: ast.AST) -> None:
        # Statements of blocks inside a function; its own are dropped with it, and a module's are no code that runs.
        if self._stores:
            for name in ("body", "orelse", "finalbody"):
                block: object = getattr(node, name, None)
                # The body of a conditional expression or a lambda is no block.
                for statement in cast("list[ast.stmt]", block) if isinstance(block, list) else ():
                    self._drop(statement)
        super().generic_visit(node)

    def _drop(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Expr):
            is_dropped = not isinstance(statement.value, ast.Constant)
        elif isinstance(statement, ast.Assign):
            is_dropped = all(self._is_set_before(target) for target in statement.targets)
        else:
            is_dropped = isinstance(statement, _DROPPED)
        if is_dropped:
            self._add("statement dropped", statement, "pass")

    def _is_set_before(self, target: ast.expr) -> bool:
        """Return whether a function goes on without an assignment: a name that it sets once would only be missing."""
        if isinstance(target, (ast.Tuple, ast.List)):
            return all(map(self._is_set_before, target.elts))
        return not isinstance(target, ast.Name) or self._stores[target.id] > 1


_ANY_FUNCTION: Final = ""


def _count_stores(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Counter[str]:
    """Count how often a function sets each name, its arguments included; the result is never empty."""
    arguments = node.args
    found = Counter(
        [_ANY_FUNCTION, *(it.arg for it in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))]
    )
    found.update(it.id for it in ast.walk(node) if isinstance(it, ast.Name) and isinstance(it.ctx, ast.Store))
    return found
