"""A walk's place as text that a later process can go on from."""

from __future__ import annotations

import json
from typing import Any, Final, cast

import attrs

from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import InvalidArgumentError

_VERSION: Final = 1
_MOST_AHEAD: Final = 10_000


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidArgumentError("cursor: it is damaged (a list of texts is missing)")
    items = cast("list[object]", value)
    if len(items) > _MOST_AHEAD or not all(isinstance(item, str) for item in items):
        raise InvalidArgumentError("cursor: it is damaged (a list of texts holds something else)")
    return tuple(cast("list[str]", items))


def _query(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise InvalidArgumentError("cursor: it is damaged (the query is missing)")
    pairs = cast("dict[str, object]", value)
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in pairs.values()):
        raise InvalidArgumentError("cursor: it is damaged (the query holds something else than numbers)")
    return cast("dict[str, float]", pairs)


def _is(*kinds: type[Any]) -> Any:  # noqa: ANN401 - an attrs validator
    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        # bool is an int, but no count.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise InvalidArgumentError(f"cursor: it is damaged ({field.name} is {value!r:.40})")

    return check


@attrs.frozen(kw_only=True)
class CursorText:
    """What a cursor says: the list, its arguments, and the place in it."""

    list: str = attrs.field(validator=_is(str))
    path: tuple[str, ...] = attrs.field(converter=_texts)
    query: dict[str, float] = attrs.field(converter=_query)
    backward: bool = attrs.field(validator=_is(bool))
    after: str | None = attrs.field(validator=_is(str, type(None)))
    ahead: tuple[str, ...] = attrs.field(converter=_texts)
    delivered: int = attrs.field(validator=_is(int))
    limit: int | None = attrs.field(validator=_is(int, type(None)))
    page_size: int = attrs.field(validator=_is(int))
    done: bool = attrs.field(validator=_is(bool))

    def __attrs_post_init__(self) -> None:
        row = ENDPOINTS.get(self.list)
        if row is None or not row.paginated:
            raise InvalidArgumentError(f"cursor: it is damaged (no list is named {self.list!r:.80})")
        if len(self.path) != len(row.path_parameters) or not self.query.keys() <= set(row.query):
            raise InvalidArgumentError(f"cursor: it is damaged (other arguments than {self.list} takes)")
        if self.delivered < 0 or self.after == "" or (self.backward and self.after is None):
            raise InvalidArgumentError("cursor: it is damaged (an impossible place)")

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
