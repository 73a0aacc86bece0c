"""A walk's position as text, from which a later process can continue."""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

import attrs

from bardge_async._pagination.options import is_sendable_id
from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import InvalidArgumentError

_VERSION: Final = 1


def _corruption_error(what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"cursor: it is corrupt ({what}); start the walk again")


def _read_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise _corruption_error("a list of strings is missing")
    items = cast("list[object]", value)
    if not all(isinstance(item, str) and item for item in items):
        raise _corruption_error("a list of strings contains something else")
    return tuple(cast("list[str]", items))


def _read_query(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise _corruption_error("the query is missing")
    pairs = cast("dict[str, object]", value)
    if not all(_is_number(number) for number in pairs.values()):
        raise _corruption_error("the query contains something other than numbers")
    return cast("dict[str, float]", pairs)


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _type_validator(*kinds: type[Any]) -> Any:  # noqa: ANN401 - an attrs validator
    def validate(_: object, field: attrs.Attribute[Any], value: object) -> None:
        # bool is a subclass of int, but not a count.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _corruption_error(f"{field.name} is {value!r:.40}")

    return validate


def _validate_id(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not is_sendable_id(value):
        raise _corruption_error(f"{field.name} is {value!r:.40}")


@attrs.frozen(kw_only=True)
class Cursor:
    """A cursor's contents: the list, its arguments, and the position in it.

    ``start`` is the id that the walk started from, ``after`` the one to continue after. ``known`` are ids delivered
    before the position, ``ahead`` ids already delivered after it: neither may be delivered again.
    """

    # Field names are the cursor's stored format: to rename one, raise _VERSION.
    list: str = attrs.field(validator=_type_validator(str))
    path: tuple[str, ...] = attrs.field(converter=_read_texts)
    query: dict[str, float] = attrs.field(converter=_read_query)
    backward: bool = attrs.field(validator=_type_validator(bool))
    start: str | None = attrs.field(validator=_validate_id)
    after: str | None = attrs.field(validator=_validate_id)
    known: tuple[str, ...] = attrs.field(converter=_read_texts)
    ahead: tuple[str, ...] = attrs.field(converter=_read_texts)
    delivered: int = attrs.field(validator=_type_validator(int))
    limit: int | None = attrs.field(validator=_type_validator(int, type(None)))
    page_size: int = attrs.field(validator=_type_validator(int))
    done: bool = attrs.field(validator=_type_validator(bool))

    def __attrs_post_init__(self) -> None:
        endpoint = ENDPOINTS.get(self.list)
        if endpoint is None or not endpoint.paginated:
            raise _corruption_error(f"there is no list {self.list!r:.80}")
        if len(self.path) != len(endpoint.path_parameters) or not self.query.keys() <= set(endpoint.query):
            raise _corruption_error(f"its arguments are not those of {self.list}")
        if self.delivered < len(self.ahead) or (self.backward and self.start is None):
            raise _corruption_error("an impossible position")
        if self.after is None and (self.start is not None or self.delivered > len(self.ahead)):
            raise _corruption_error("an impossible position")

    def dump(self) -> str:
        """Return it as compact JSON."""
        return json.dumps({"v": _VERSION, **attrs.asdict(self)}, separators=(",", ":"))

    @staticmethod
    def load(text: object) -> Cursor:
        """Parse a cursor.

        Raises:
            InvalidArgumentError: It is not a cursor of this library, or it is corrupt.
        """
        try:
            found = json.loads(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):  # deeply nested JSON exceeds the recursion limit
            found = None
        names = {field.name for field in attrs.fields(Cursor)}
        if not isinstance(found, dict) or cast("dict[str, object]", found).keys() != names | {"v"}:
            raise InvalidArgumentError(f"cursor: expected the text of a walk's cursor, got {text!r:.80}")
        values = cast("dict[str, Any]", found)
        if values.pop("v") != _VERSION:
            raise InvalidArgumentError("cursor: another version of this library wrote it; start the walk again")
        return Cursor(**values)
