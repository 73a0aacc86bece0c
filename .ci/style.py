"""Check what ruff does not: lengths, docstrings of what is public through a re-export, the root's ``__all__``, words.

``python .ci/style.py [package folder]`` prints ``file:line: why`` for each fault and exits 1.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_FUNCTION = 40
LONGEST_FILE = 400
LONGEST_README = 170
# Words of a private dialect; what a native engineer writes stands in CONTRIBUTING.md.
WORDS = re.compile(
    r"\b(at once|bear|bears|heed|heeds|mend|mended|mends|nobody|tell whether|under way|what became of|whoever)\b",
    re.IGNORECASE,
)
# A key of the command line's JSON, which programs read; a user of the system.
STORED = ('"mend"', 'getpwnam("nobody")')

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lengths(path: Path, tree: ast.Module) -> Iterator[str]:
    """Report files and functions that are too long; a docstring does not count."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > LONGEST_FILE:
        yield f"{path}:1: {lines} lines, more than {LONGEST_FILE}"
    for node in ast.walk(tree):
        if isinstance(node, Function) and _length(node) > LONGEST_FUNCTION:
            yield f"{path}:{node.lineno}: {node.name} has {_length(node)} lines, more than {LONGEST_FUNCTION}"


def _length(node: Function) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def undocumented(path: Path, tree: ast.Module, names: set[str]) -> Iterator[str]:
    """Report classes, functions and methods that have one of the public names and no docstring."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and node.name in names:
            for said in [node, *_methods(node)]:
                if ast.get_docstring(said) is None and not _overload(said):
                    yield f"{path}:{said.lineno}: {said.name} is public and has no docstring"


def _methods(node: ast.stmt) -> list[Function]:
    body = node.body if isinstance(node, ast.ClassDef) else []
    return [part for part in body if isinstance(part, Function) and not part.name.startswith("_")]


def _overload(node: ast.ClassDef | Function) -> bool:
    marks = {mark.id if isinstance(mark, ast.Name) else getattr(mark, "attr", "") for mark in node.decorator_list}
    return bool(marks & {"overload", "setter"})


def public(trees: dict[Path, ast.Module], folder: Path) -> dict[Path, set[str]]:
    """Find the public names of every module: its own, and what public packages re-export from it."""
    names = {path: _own(path.relative_to(folder), tree) for path, tree in trees.items()}
    for path, tree in trees.items():
        if path.name == "__init__.py" and not _private(path.relative_to(folder)):
            for node in _imports(tree):
                module = folder.parent.joinpath(*(node.module or "").split("."))
                for file in (module.with_suffix(".py"), module / "__init__.py"):
                    names.get(file, set()).update(alias.name for alias in node.names)
    return names


def _private(path: Path) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in path.parts)


def _own(path: Path, tree: ast.Module) -> set[str]:
    if _private(path):
        return set()
    return {n.name for n in tree.body if isinstance(n, ast.ClassDef | Function) and not n.name.startswith("_")}


def _imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    """Find what a module may re-export: also what type checkers see, and what is in fact imported on demand."""
    seen = [node for branch in tree.body if isinstance(branch, ast.If) for node in branch.body]
    for node in [*tree.body, *seen]:
        if isinstance(node, ast.ImportFrom) and node.module not in {"__future__", "typing"}:
            yield node


def exports(path: Path, tree: ast.Module) -> Iterator[str]:
    """Report where the root's ``__all__`` and its imports differ; ruff sorts it.

    What a module exports by ``from module import *`` must be taken over whole, by ``__all__ += module.__all__``.
    """
    imported = {alias.asname or alias.name for node in _imports(tree) for alias in node.names} - {"*"}
    stars = {str(node.module).rpartition(".")[2] for node in _imports(tree) if node.names[0].name == "*"}
    listed, taken, line = _listed(tree)
    if imported | stars and not line:
        yield f"{path}:1: no __all__"
        return
    for name in sorted((imported - stars - taken) ^ listed):
        yield f"{path}:{line}: {name} is {'missing in __all__' if name in imported else 'in __all__ and not imported'}"
    for name in sorted(stars ^ taken):
        yield f"{path}:{line}: {name}.__all__ is {'not added to __all__' if name in stars else 'added and not imported'}"


def _listed(tree: ast.Module) -> tuple[set[str], set[str], int]:
    """Read ``__all__ = [...]`` and every ``__all__ += module.__all__``: names, modules, the line of the first."""
    listed: set[str] = set()
    taken: set[str] = set()
    line = 0
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() as value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.List() as value)
            ):
                listed, line = set(ast.literal_eval(value)), node.lineno
            case ast.AugAssign(target=ast.Name(id="__all__"), value=ast.Attribute(value=ast.Name(id=module))):
                taken.add(module)
    return listed, taken, line


def words(path: Path) -> Iterator[str]:
    """Report words that a reader from outside stumbles over."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line
        for stored in STORED:
            text = text.replace(stored, "")
        for found in WORDS.finditer(text):
            yield f"{path}:{number}: {found[0]!r} is not plain technical English"


def readme(path: Path) -> Iterator[str]:
    """Report a README that has grown too long."""
    lines = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
    if lines > LONGEST_README:
        yield f"{path}:1: {lines} lines, more than {LONGEST_README}: move what is not for the first minutes to docs/"


def texts(folder: Path) -> list[Path]:
    """List what people read: the package, its pages, and the programs beside it."""
    beside = folder.parent
    programs = [
        path for name in ("examples", "campaigns", "benchmarks") for path in beside.joinpath(name).rglob("*.py")
    ]
    return sorted([*folder.rglob("*.py"), *beside.glob("*.md"), *beside.glob("docs/*.md"), *programs])


def main(arguments: list[str]) -> int:
    """Check the package folder that is given, or this repository's."""
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / "bardge_async"
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))}
    names = public(trees, folder)
    faults = list(exports(folder / "__init__.py", trees[folder / "__init__.py"]))
    for path, tree in trees.items():
        faults += [*lengths(path, tree), *undocumented(path, tree, names[path])]
    faults += [fault for path in texts(folder) for fault in words(path)]
    faults += readme(folder.parent / "README.md")
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
