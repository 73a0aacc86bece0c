"""Generate a reader per response class, once: the converter's fast path for valid responses.

Anything unexpected falls back to ``slow``, which reports every error with its path and moves values that contradict an
inferred or guide type to ``extra``.
"""

from __future__ import annotations

import datetime as dt
import functools
import textwrap
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

import attrs

from bardge_async._core.drift import NEW, note_drift
from bardge_async._core.factories import mutable_twin
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
"""Takes a JSON value; cattrs also passes the class, which these hooks ignore."""

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
"""Per scalar hook: the JSON type it usually gets, and inline code for that type; otherwise the hook is called."""

# The dates in a list repeat.
_read_date_cached: Final = functools.lru_cache(maxsize=4096)(read_date)


def is_simple(cls: type[Any], names: Iterable[str]) -> bool:
    """Return whether assigning the named fields one by one equals calling the class's ``__init__``.

    True for all classes of this package; a user's class may have converters, defaults or an ``__init__``.
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
    """Compile a reader of JSON objects as ``cls``; the first ``common_count`` hooks are those of its common fields."""
    names: dict[str, Any] = {
        "Decimal": Decimal,
        "MS": FIRST_MILLISECONDS,
        "Troubles": (StructureError, ValueError, OverflowError, OSError),
        "Twin": mutable_twin(cls),
        "UTC": dt.UTC,
        "at": dt.datetime.fromtimestamp,
        "cls": cls,
        "instant": read_timestamp,
        "known_day": _read_date_cached,
        "new": object.__new__,
        "slow": slow,
        "unknown": _make_extra_reader(cls.__name__, frozenset(hooks)),
        **{f"hook_{name}": hook for name, hook in hooks.items()},
        **{f"members_{name}": hook.by_spelling for name, hook in hooks.items() if isinstance(hook, OpenEnum)},
    }
    source = _generate_source(hooks, common_count)
    # Safe: the source contains only names of response classes' fields, nothing that a server sent.
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
    """Skip the rare fields once all keys of the object are accounted for."""
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


def _make_extra_reader(owner: str, known: frozenset[str]) -> Callable[[dict[str, object]], dict[str, object]]:
    def read_extra(value: dict[str, object]) -> dict[str, object]:
        extra = {name: require_exact(raw) for name, raw in value.items() if name not in known}
        for name in extra:
            note_drift(owner, name, NEW)
        return extra

    return read_extra
