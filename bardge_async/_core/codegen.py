"""Code that reads objects of one class, made once per class: the converter's way for answers without a fault.

Whatever is not plain goes to ``slow``, which tells all faults with their paths and keeps wrong guesses raw.
"""

from __future__ import annotations

import datetime as dt
import functools
import textwrap
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

import attrs

from bardge_async._core.scalars import (
    FIRST_MILLISECONDS,
    OpenEnum,
    StructureError,
    read_bool,
    read_date,
    read_decimal,
    read_int,
    read_str,
    read_timestamp,
    require_exact,
)
from bardge_async.models import Resource

StructureHook: TypeAlias = Callable[..., Any]
"""Takes a JSON value; cattrs passes the class too, which none of ours needs."""

_INLINE_CODE: Final[Mapping[object, tuple[str, str]]] = {
    read_str: ("str", "v"),
    read_bool: ("bool", "v"),
    read_int: ("int", "v"),
    read_decimal: ("int", "Decimal(v)"),
    read_date: ("str", "known_day(v)"),
    read_timestamp: (
        "int",
        "at(v, UTC) if 0 <= v < MS else at(v // 1000, UTC) if v > 0 and not v % 1000 else instant(v)",
    ),
}
"""The type that a leaf takes most, and what it then does: the leaf itself is called for any other."""

# A list has few different days.
_read_date_cached: Final = functools.lru_cache(maxsize=4096)(read_date)


def is_simple(cls: type[Any], names: Iterable[str]) -> bool:
    """Tell whether filling the named fields one by one gives what the class's own ``__init__`` gives.

    All of ours are so; a user's own class may have converters, defaults or an ``__init__``.
    """
    fields = [field for field in attrs.fields(cls) if field.name != "extra"]
    below = cls.__mro__[: cls.__mro__.index(Resource)]
    return (
        type(cls) is type
        and cls.__dictoffset__ == 0
        and all(len(one.__bases__) == 1 and "__new__" not in vars(one) for one in below)
        and not hasattr(cls, "__attrs_init__")
        and not hasattr(cls, "__attrs_post_init__")
        and {field.name for field in fields} == set(names)
        and not any(field.validator or field.converter or not field.init for field in fields)
        and all(field.default is None and field.alias == field.name for field in fields)
    )


def compile_reader(
    cls: type[Any], hooks: Mapping[str, StructureHook], common_count: int, slow: StructureHook
) -> StructureHook:
    """Make the function that reads a JSON object as a ``cls``; the first ``usual`` fields are those that it mostly has."""
    names: dict[str, Any] = {
        "Decimal": Decimal,
        "MS": FIRST_MILLISECONDS,
        "Troubles": (StructureError, ValueError, OverflowError, OSError),
        "Twin": _mutable_twin(cls),
        "UTC": dt.UTC,
        "at": dt.datetime.fromtimestamp,
        "cls": cls,
        "instant": read_timestamp,
        "known_day": _read_date_cached,
        "new": object.__new__,
        "slow": slow,
        "unknown": _make_extra_reader(frozenset(hooks)),
        **{f"hook_{name}": hook for name, hook in hooks.items()},
        **{f"members_{name}": hook.by_spelling for name, hook in hooks.items() if isinstance(hook, OpenEnum)},
    }
    source = _generate_source(hooks, common_count)
    # Only names of our own classes are in the source, nothing that a server sent.
    exec(compile(source, f"<reader of {cls.__name__}>", "exec"), names)  # noqa: S102
    made: StructureHook = names["read"]
    return made


def _generate_source(hooks: Mapping[str, StructureHook], common_count: int) -> str:
    codes = [_generate_field(name, hook) for name, hook in hooks.items()]
    fields = "".join(codes[:common_count]) + _generate_rare_fields(
        [*hooks][common_count:], "".join(codes[common_count:]), common_count
    )
    return f"""
def read(value, _=None):
    if type(value) is not dict:
        return slow(value)
    get = value.get
    self = new(Twin)
    absent = 0
    try:{fields}
    except Troubles:
        return slow(value)
    self.extra = {{}} if len(value) + absent == {len(hooks)} else unknown(value)
    self.__class__ = cls
    return self
"""


def _generate_rare_fields(names: list[str], code: str, common_count: int) -> str:
    """Leave fields alone that cannot be there, since every key of the object has been met."""
    if not names:
        return ""
    return f"""
        if len(value) + absent == {common_count}:
            {" = ".join(f"self.{name}" for name in names)} = None
            absent += {len(names)}
        else:{textwrap.indent(code, "    ")}"""


def _generate_field(name: str, hook: StructureHook) -> str:
    if isinstance(hook, OpenEnum):
        kind, short = "str", f"members_{name}.get(v) or hook_{name}(v)"
    else:
        kind, short = _INLINE_CODE.get(hook, ("", ""))
    shortcut = f"if type(v) is {kind}:\n            self.{name} = {short}\n        el" if kind else ""
    return f"""
        v = get({name!r})
        {shortcut}if v is None:
            self.{name} = None
            absent += 1
        else:
            self.{name} = hook_{name}(v)"""


def _make_extra_reader(known: frozenset[str]) -> Callable[[dict[str, object]], dict[str, object]]:
    return lambda value: {name: require_exact(raw) for name, raw in value.items() if name not in known}


def _mutable_twin(cls: type[Any]) -> type[Any]:
    """Make a class of the same layout whose instances can be filled by plain assignment, then given ``cls``.

    A frozen class's own ``__init__`` calls ``object.__setattr__`` for each field, which takes five times as long.
    """
    # Both methods of the frozen base must go: with one of them left, the interpreter takes the slow way for either.
    methods = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(cls.__name__, cls.__bases__, {"__slots__": cls.__slots__, **methods})
