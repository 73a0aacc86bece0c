"""A canary in place of the API key, and the search for it in all that a program or an error reporter can see."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Final, cast

from bardge_async._core.secret import Secret

CANARY: Final = "canary-5ecret-k3y"
_OURS: Final = ("bardge_async", "aiohttp", "anyio", "multidict", "yarl")
_CLOSED: Final = (ModuleType, FunctionType, MethodType, FrameType, type, Secret)


def holds_canary(text: object) -> bool:
    """Return whether text or bytes contain the canary."""
    if isinstance(text, bytes | bytearray):
        return CANARY.encode() in text
    return isinstance(text, str) and CANARY in text


def find_canary(value: object, path: str = "", seen: set[int] | None = None, depth: int = 12) -> Iterator[str]:
    """Yield the paths below a value at which the canary appears: by ``repr``, as text or as bytes."""
    seen = set() if seen is None else seen
    if id(value) in seen or depth == 0:
        return
    seen.add(id(value))
    plain = isinstance(value, str | bytes | bytearray) and not isinstance(value, Secret)
    if holds_canary(_make_repr(value)) or (plain and holds_canary(value)):
        yield f"{path}: {type(value).__name__}"
    if not isinstance(value, _CLOSED):
        for step, item in _list_members(value):
            yield from find_canary(item, path + step, seen, depth - 1)


def _make_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - of a half-built aiohttp object
        return ""


def _list_members(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        pairs = list(cast("Mapping[object, object]", value).items())
        yield from ((f"[{key!r}]", item) for key, item in pairs)
        yield from (("<key>", key) for key, _ in pairs)
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (("[]", item) for item in list(cast("Iterable[object]", value)))
    elif isinstance(value, BaseException) or str(type(value).__module__).startswith(_OURS):
        yield from ((f".{name}", item) for name, item in _list_attributes(value))


def _list_attributes(value: object) -> Iterator[tuple[str, object]]:
    yield from dict(getattr(value, "__dict__", {})).items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in [slots] if isinstance(slots, str) else slots:
            name = f"_{kind.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
            if hasattr(value, name):
                yield name, getattr(value, name)


def find_in_error(error: BaseException) -> list[str]:
    """Return where the canary appears in an error, its whole chain, its tracebacks and the locals of their frames."""
    found: list[str] = []
    for one in _list_chain(error):
        name = type(one).__name__
        texts = {"str": str(one), "repr": repr(one), "args": repr(one.args), "dict": repr(one.__dict__)}
        texts["notes"] = repr(getattr(one, "__notes__", None))
        texts["traceback"] = "".join(traceback.TracebackException.from_exception(one, capture_locals=True).format())
        found += [f"{name} {what}" for what, text in texts.items() if holds_canary(text)]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                found += [f"{name} {frame.f_code.co_qualname}{hit}" for hit in find_canary(dict(frame.f_locals), " ")]
    return found


def _list_chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "last_error", None)]
    return found


def find_in_log(records: list[logging.LogRecord]) -> list[str]:
    """Return where the canary appears in log records, their arguments included."""
    return [
        f"{record.name} {record.getMessage()[:80]}"
        for record in records
        if holds_canary(record.getMessage()) or any(find_canary(dict(record.__dict__)))
    ]
