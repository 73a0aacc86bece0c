"""Check the import floors: imports go down only, and nothing below the I/O line does I/O.

``python .ci/floors.py [package folder]`` prints ``file:line: why`` for each fault and exits 1. Lazy imports and those
for type checkers count like any other.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# From the top: a folder or root module may import its own floor and those below it.
FLOORS = (
    (
        "__main__",
        "cli",
        "doctor",
        "openapi",
        "sandbox",
        "testing",
        "integrations",
    ),  # side buildings: nothing imports them
    ("",),  # the root, which re-exports
    ("_client",),
    ("_batch",),
    ("_doubts",),
    ("_calls",),
    ("_resources",),
    ("_pagination",),
    ("_journal", "_limits"),
    ("_network", "_postgres"),
    ("_runtime",),
    ("_core",),
    ("endpoints",),
    ("models",),
    ("errors", "_version"),
)
# The I/O line: these are pure.
PURE = frozenset({"_core", "endpoints", "models", "errors", "_version"})
FLOOR = {unit: height for height, units in enumerate(reversed(FLOORS)) for unit in units}
DOES_IO = frozenset({"aiohttp", "anyio", "asyncio"})


class Import(NamedTuple):
    """One import statement: the module that it stands in, its line, the module that it names."""

    source: str
    line: int
    target: str


class Tree:
    """All modules of one package and what they import."""

    def __init__(self, folder: Path) -> None:
        self.package = folder.name
        self.files = {self._name(folder, path): path for path in sorted(folder.rglob("*.py"))}
        self.imports = [found for name in self.files for found in self._read(name)]

    def _name(self, folder: Path, path: Path) -> str:
        parts = [self.package, *path.relative_to(folder).with_suffix("").parts]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _read(self, name: str) -> Iterator[Import]:
        for node in ast.walk(ast.parse(self.files[name].read_text(encoding="utf-8"))):
            for wanted in self._wanted(node, name):
                yield Import(name, getattr(node, "lineno", 0), self._module(wanted))

    def _wanted(self, node: ast.AST, name: str) -> list[str]:
        match node:
            case ast.Import():
                return [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = self._base(node, name)
                return [f"{base}.{alias.name}" for alias in node.names]
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(wanted)), *_],
            ):
                return [wanted]
            case _:
                return []

    def _base(self, node: ast.ImportFrom, name: str) -> str:
        """Spell a relative import out."""
        if not node.level:
            return node.module or ""
        is_package = self.files[name].name == "__init__.py"
        parts = name.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        return ".".join([*parts, node.module] if node.module else parts)

    def _module(self, wanted: str) -> str:
        """Cut the names behind a module of the package off; leave other packages as they are."""
        module = wanted
        while module not in self.files and module.startswith(f"{self.package}."):
            module = module.rpartition(".")[0]
        return module

    def unit(self, module: str) -> str:
        """Name the part of the package that a module belongs to; empty for the root."""
        return module.split(".")[1] if "." in module else ""

    def faults(self) -> Iterator[str]:
        """Report everything that is wrong, one line each."""
        for name, path in self.files.items():
            if self.unit(name) not in FLOOR:
                yield f"{path}:1: {name} has no floor: add it to the list in .ci/floors.py"
        for found in self.imports:
            if found.target in self.files:
                yield from self._upwards(found)
            else:
                yield from self._does_io(found)
        yield from self._cycles()

    def _upwards(self, found: Import) -> Iterator[str]:
        source, target = self.unit(found.source), self.unit(found.target)
        if FLOOR.get(source, -1) < FLOOR.get(target, -1) and source in FLOOR:
            yield f"{self._place(found)}: {found.source} imports {found.target}, which stands above it"

    def _does_io(self, found: Import) -> Iterator[str]:
        outside = found.target.split(".")[0]
        if outside in DOES_IO and self.unit(found.source) in PURE:
            yield f"{self._place(found)}: {found.source} is pure and imports {outside}"

    def _place(self, found: Import) -> str:
        return f"{self.files[found.source]}:{found.line}"

    def _cycles(self) -> Iterator[str]:
        reported: set[frozenset[str]] = set()
        for name in self.files:
            ring = self._way_back(name)
            if ring and frozenset(ring) not in reported:
                reported.add(frozenset(ring))
                first = next(i for i in self.imports if (i.source, i.target) == (name, (ring[1:] + ring)[0]))
                yield f"{self._place(first)}: import cycle: {' -> '.join([*ring, name])}"

    def _way_back(self, start: str) -> list[str]:
        """Find the shortest way from a module to itself; empty if there is none."""
        ways = [[start]]
        seen: set[str] = set()
        for way in ways:
            for target in self._targets(way[-1]):
                if target == start:
                    return way
                if target not in seen:
                    seen.add(target)
                    ways.append([*way, target])
        return []

    def _targets(self, name: str) -> Iterable[str]:
        return dict.fromkeys(i.target for i in self.imports if i.source == name and i.target in self.files)


def main(arguments: list[str]) -> int:
    """Check the package folder that is given, or this repository's."""
    default = Path(__file__).resolve().parent.parent / "bardge_async"
    faults = list(Tree(Path(arguments[0]) if arguments else default).faults())
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
