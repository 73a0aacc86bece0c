"""A walk's place as text that a later process can go on from."""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

import attrs

from bardge_async._pagination.options import sendable
from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import InvalidArgumentError

_VERSION: Final = 1


def _damaged(what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"cursor: it is damaged ({what})")


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise _damaged("a list of texts is missing")
    items = cast("list[object]", value)
    if not all(isinstance(item, str) and item for item in items):
        raise _damaged("a list of texts holds something else")
    return tuple(cast("list[str]", items))


def _query(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise _damaged("the query is missing")
    pairs = cast("dict[str, object]", value)
    if not all(_is_number(number) for number in pairs.values()):
        raise _damaged("the query holds something else than numbers")
    return cast("dict[str, float]", pairs)


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is(*kinds: type[Any]) -> Any:  # noqa: ANN401 - an attrs validator
    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        # bool is an int, but no count.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _damaged(f"{field.name} is {value!r:.40}")

    return check


def _is_id(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not sendable(value):
        raise _damaged(f"{field.name} is {value!r:.40}")


@attrs.frozen(kw_only=True)
class CursorText:
    """What a cursor says: the list, its arguments, and the place in it.

    ``start`` is the id that the walk began at, ``after`` the one to go on after; ``known`` are ids delivered before the
    place and ``ahead`` some delivered behind it: neither are to come again.
    """

    list: str = attrs.field(validator=_is(str))
    path: tuple[str, ...] = attrs.field(converter=_texts)
    query: dict[str, float] = attrs.field(converter=_query)
    backward: bool = attrs.field(validator=_is(bool))
    start: str | None = attrs.field(validator=_is_id)
    after: str | None = attrs.field(validator=_is_id)
    known: tuple[str, ...] = attrs.field(converter=_texts)
    ahead: tuple[str, ...] = attrs.field(converter=_texts)
    delivered: int = attrs.field(validator=_is(int))
    limit: int | None = attrs.field(validator=_is(int, type(None)))
    page_size: int = attrs.field(validator=_is(int))
    done: bool = attrs.field(validator=_is(bool))

    def __attrs_post_init__(self) -> None:
        row = ENDPOINTS.get(self.list)
        if row is None or not row.paginated:
            raise _damaged(f"no list is named {self.list!r:.80}")
        if len(self.path) != len(row.path_parameters) or not self.query.keys() <= set(row.query):
            raise _damaged(f"other arguments than {self.list} takes")
        if self.delivered < len(self.ahead) or (self.backward and self.start is None):
            raise _damaged("an impossible place")
        if self.after is None and (self.start is not None or self.delivered > len(self.ahead)):
            raise _damaged("an impossible place")

    def dump(self) -> str:
        """Write it as compact JSON."""
        return json.dumps({"v": _VERSION, **attrs.asdict(self)}, separators=(",", ":"))

    @staticmethod
    def load(text: object) -> CursorText:
        """Read a cursor.

        Raises:
            InvalidArgumentError: It is no cursor of this library, or a damaged one.
        """
        try:
            found = json.loads(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            found = None
        names = {field.name for field in attrs.fields(CursorText)}
        if not isinstance(found, dict) or cast("dict[str, object]", found).keys() != names | {"v"}:
            raise InvalidArgumentError(f"cursor: expected the text of a walk's cursor, got {text!r:.80}")
        values = cast("dict[str, Any]", found)
        if values.pop("v") != _VERSION:
            raise InvalidArgumentError("cursor: it was written by another version of this library")
        return CursorText(**values)
