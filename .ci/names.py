"""Check names: one meaning for each type, verbs for functions, no name that was given up.

``python .ci/names.py [package folder]`` prints ``file:line: why`` for each fault and exits 1.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_ONE_WORD_SHARE = 0.45
"""Of all function names; 12-47 % in the code bases that this project compares itself with."""

# The fake shares no rules with the client, and may share names.
APART = "sandbox"

# First words that are participles, besides those in -ed; a function that returns a bool may have one: `_is_known`, `_known`.
IRREGULAR = frozenset("begun done given held kept known left made sent taken told withdrawn written".split())
NO_PARTICIPLES = frozenset({"embed", "exceed", "feed", "need", "proceed", "seed", "speed"})

# What was renamed, by the folder where it lives now; parameters and attributes count like definitions.
GIVEN_UP = {
    "": "Again HeldBackError Record Answer Identity Moment tell_held_back tell_wait",
    "_core": "Case Call Composer Proceed HoldBack SETTLED judge final unknown roll protected compose row_of named"
    " corrected free_row segment fill flag whole money degrees instant fault plain _twin _doubtful _bound",
    "_calls": "AttemptBegun WaitBegun DoubtSettled HeldBack Told Hooks Watch saw Run Calls _Block able expected label"
    " _intend _noted _keep _withdraw _crowded _too_late _admitted _afford _enter _new",
    "_limits": "turn Slots Lane _Turn Rate Turns Question Grant Offset AwayError Row give_back saw enter leave emptied",
    "_journal": "Lines KeyLocks OneLoop sealed unsealed damaged patience",
    "_postgres": "Lane Link Job OneLoop",
    "_network": "Lean Parts Alarms OneLoop fits genuine due",
    "_pagination": "Span Source Stretch Position Place Work Entry CursorText",
    "_batch": "Crew One Performer Plan ends_all _insisted _worthwhile",
    "_doubts": "Traces Claims Case ripe covers rivals",
    "cli": "Voice Desk Post Order Book Survey Place Drive Board Ending Trouble Faults StopError mend harmless _show",
    "sandbox": "Refusal Call spoiled sow admit Held Faults",
    "integrations": "Shift again sweep held",
}
# Public and documented: the constructor's word for how long a call waits for the database.
KEPT = {"_journal/postgres.py: patience", "_journal/__init__.py: patience", "_journal/sqlite.py: patience"}
# In folders without an underscore of their own, modules have one each; these were renamed.
MODULES = {
    "cli/batch": "_apikey _book _check _desk _drive _fields _faults _order _places _queue_commands _queue_desk _shell _show"
    " _source _survey _table _voice",
    "sandbox": "_call _guard _line _recorder _refusals _script _values",
    "sandbox/behaviours": "_grants _people _places",
}
ROOT = frozenset({"__init__", "__main__", "_client", "_version", "endpoints", "errors"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Definition(NamedTuple):
    """A name that a module gives to something: a type, a function, a parameter or an attribute."""

    path: Path
    line: int
    name: str
    node: ast.AST


def find_definitions(path: Path, tree: ast.Module) -> Iterator[Definition]:
    """Find classes, functions, parameters, class attributes and module constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | Function):
            yield Definition(path, node.lineno, node.name, node)
        elif isinstance(node, ast.arg):
            yield Definition(path, node.lineno, node.arg, node)
    for owner in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
        for node in owner.body:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if _is_annotated(node) else []
            for target in targets:
                if isinstance(target, ast.Name):
                    yield Definition(path, node.lineno, target.id, node)


def _is_annotated(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign)


def check_types(definitions: list[Definition], folder: Path) -> Iterator[str]:
    """Report types of one name in two modules."""
    first: dict[str, Definition] = {}
    for found in definitions:
        if isinstance(found.node, ast.ClassDef) and found.path.relative_to(folder).parts[0] != APART:
            other = first.setdefault(found.name, found)
            if other.path != found.path:
                yield f"{found.path}:{found.line}: {found.name} is also a type of {other.path}: choose another name"


def check_participles(definitions: list[Definition]) -> Iterator[str]:
    """Report private functions that are named by a participle and do not return a bool."""
    for found in definitions:
        if isinstance(found.node, Function) and found.name.startswith("_") and not found.name.startswith("__"):
            first_word = found.name.strip("_").split("_")[0]
            returns = ast.unparse(found.node.returns) if found.node.returns else ""
            if _is_participle(first_word) and returns != "bool":
                yield f"{found.path}:{found.line}: {found.name}: name a function by a verb and its object"


def _is_participle(word: str) -> bool:
    return word in IRREGULAR or (word.endswith("ed") and word not in NO_PARTICIPLES)


def check_given_up(definitions: list[Definition], folder: Path) -> Iterator[str]:
    """Report definitions and parameters with a name that was given up."""
    given_up = {room: frozenset(names.split()) for room, names in GIVEN_UP.items()}
    for found in definitions:
        place = found.path.relative_to(folder)
        names = given_up.get(place.parts[0], frozenset()) | (given_up[""] if place.parts[0] != APART else frozenset())
        is_kept = f"{place.as_posix()}: {found.name}" in KEPT
        if (found.name in names and not is_kept) or _is_endpoint_row(found.node):
            yield f"{found.path}:{found.line}: {found.name} was given up: see CONTRIBUTING.md on names"


def _is_endpoint_row(node: ast.AST) -> bool:
    """Return whether an endpoint is called a row, which is one of a table or a file here."""
    return (
        isinstance(node, ast.arg)
        and node.arg == "row"
        and node.annotation is not None
        and "Endpoint" in ast.unparse(node.annotation)
    )


def check_modules(folder: Path) -> Iterator[str]:
    """Report loose modules in the root, a second underscore below one, and modules with a name that was given up."""
    for path in sorted(folder.rglob("*.py")):
        room = path.parent.relative_to(folder).as_posix()
        if room == "." and path.stem not in ROOT:
            yield f"{path}:1: a loose module: the root has six, put it into a room"
        if room.startswith("_") and path.stem.startswith("_") and path.stem != "__init__":
            yield f"{path}:1: the underscore stands once, on the folder"
        if path.stem in MODULES.get(room, "").split():
            yield f"{path}:1: {path.stem} was given up: see CONTRIBUTING.md on names"


def check_one_word(definitions: list[Definition], folder: Path) -> Iterator[str]:
    """Report too many function names of one word."""
    names = [
        found.name for found in definitions if isinstance(found.node, Function) and not found.name.startswith("__")
    ]
    share = sum("_" not in name.strip("_") for name in names) / len(names) if names else 0.0
    if share > MAX_ONE_WORD_SHARE:
        yield f"{folder}:1: {share:.0%} of the function names are one word, more than {MAX_ONE_WORD_SHARE:.0%}"


def main(arguments: list[str]) -> int:
    """Check the package folder that is given, or this repository's."""
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / "bardge_async"
    definitions = [
        found
        for path in sorted(folder.rglob("*.py"))
        for found in find_definitions(path, ast.parse(path.read_text(encoding="utf-8")))
    ]
    faults = [
        *check_types(definitions, folder),
        *check_participles(definitions),
        *check_given_up(definitions, folder),
        *check_modules(folder),
        *check_one_word(definitions, folder),
    ]
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
