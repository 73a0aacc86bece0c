"""A walk's place as text that a later process can go on from."""

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
    return InvalidArgumentError(f"cursor: it is damaged ({what})")


def _read_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise _corruption_error("a list of texts is missing")
    items = cast("list[object]", value)
    if not all(isinstance(item, str) and item for item in items):
        raise _corruption_error("a list of texts holds something else")
    return tuple(cast("list[str]", items))


def _read_query(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise _corruption_error("the query is missing")
    pairs = cast("dict[str, object]", value)
    if not all(_is_number(number) for number in pairs.values()):
        raise _corruption_error("the query holds something else than numbers")
    return cast("dict[str, float]", pairs)


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _type_validator(*kinds: type[Any]) -> Any:  # noqa: ANN401 - an attrs validator
    def validate(_: object, field: attrs.Attribute[Any], value: object) -> None:
        # bool is an int, but no count.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _corruption_error(f"{field.name} is {value!r:.40}")

    return validate


def _validate_id(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not is_sendable_id(value):
        raise _corruption_error(f"{field.name} is {value!r:.40}")


@attrs.frozen(kw_only=True)
class Cursor:
    """What a cursor says: the list, its arguments, and the place in it.

    ``start`` is the id that the walk began at, ``after`` the one to go on after; ``known`` are ids delivered before the
    place and ``ahead`` some delivered behind it: neither are to come again.
    """

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
            raise _corruption_error(f"no list is named {self.list!r:.80}")
        if len(self.path) != len(endpoint.path_parameters) or not self.query.keys() <= set(endpoint.query):
            raise _corruption_error(f"other arguments than {self.list} takes")
        if self.delivered < len(self.ahead) or (self.backward and self.start is None):
            raise _corruption_error("an impossible place")
        if self.after is None and (self.start is not None or self.delivered > len(self.ahead)):
            raise _corruption_error("an impossible place")

    def dump(self) -> str:
        """Write it as compact JSON."""
        return json.dumps({"v": _VERSION, **attrs.asdict(self)}, separators=(",", ":"))

    @staticmethod
    def load(text: object) -> Cursor:
        """Read a cursor.

        Raises:
            InvalidArgumentError: It is no cursor of this library, or a damaged one.
        """
        try:
            found = json.loads(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            found = None
        names = {field.name for field in attrs.fields(Cursor)}
        if not isinstance(found, dict) or cast("dict[str, object]", found).keys() != names | {"v"}:
            raise InvalidArgumentError(f"cursor: expected the text of a walk's cursor, got {text!r:.80}")
        values = cast("dict[str, Any]", found)
        if values.pop("v") != _VERSION:
            raise InvalidArgumentError("cursor: it was written by another version of this library")
        return Cursor(**values)
