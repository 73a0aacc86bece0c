"""What a reader of the document sees: summaries and descriptions, each with the mark of the fact.

Renderers hide ``x-`` fields, so a mark that stands only there would show a guess like a fact.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Final, cast

from bardge_async._resources import Resources
from bardge_async._resources.caller import Caller
from bardge_async.endpoints import Endpoint, RepeatEffect
from bardge_async.models import Mark

MARK_NOTES: Final = {
    Mark.PAGE: "From the vendor's reference page.",
    Mark.GUIDE: "From a vendor guide, which shows no example.",
    Mark.INFERRED: "Inferred: not documented by the vendor.",
}
_REPEAT_NOTES: Final = {
    RepeatEffect.HARMLESS: "A second execution sets the same state again: harmless.",
    RepeatEffect.DUPLICATES: "A second execution charges, books or issues again.",
    RepeatEffect.CONFLICTS: "The server refuses a second execution, because of the state that the first one left.",
}
TAGS: Final = {
    "passes": "Pass packages that a reseller may issue, and the passes that its clients hold.",
    "providers": "Gyms and spas: all of them, or those that a pass covers.",
    "access_codes": "Check-in codes, one for each visit.",
    "classes": "Classes at gyms, their categories and dates.",
    "bookings": "Bookings of classes and spa services: initiate, confirm, look up, cancel, reschedule.",
    "copay": "What a client's pass does not cover: options at gyms, quotes of spas, and their purchase.",
    "credits": "A balance that clients spend on visits, services and classes: packages and their purchase.",
    "lookups": "Access to a client of another issuer, with the client's consent.",
    "clients": "Clients, and their credits.",
}
# The source in parentheses at the end of a method's first sentence: the mark says the same.
_SOURCE: Final = re.compile(r" \([^()]*\b(page|guide|inferred)\b[^()]*\)")
_NO_CALLER: Final = cast("Caller", None)
"""Only the methods' docstrings are read."""
_RESOURCES: Final = Resources(_NO_CALLER)


def summarize(endpoint: Endpoint[Any, Any]) -> str:
    """Return what a call does, in one sentence: the first of the client's method."""
    return _SOURCE.sub("", _read_paragraphs(endpoint)[0]).rstrip(".")


def describe(endpoint: Endpoint[Any, Any]) -> str:
    """Return what a caller has to know: the method's text, the mark, and what a second execution does."""
    first, *others = _read_paragraphs(endpoint)
    texts = [first, *(text for text in others if not text.startswith(("Args:", "Raises:", "``lookup_token``")))]
    texts.append(mark_note(endpoint.mark))
    if endpoint.repeat_effect is not None:
        texts.append(_REPEAT_NOTES[endpoint.repeat_effect])
    return "\n\n".join(texts)


def mark_note(mark: Mark) -> str:
    """Return how well a fact is known, as a sentence."""
    return MARK_NOTES[mark]


def add_mark(text: str, mark: Mark) -> str:
    """Return a description with its mark; a page's fact needs no remark."""
    return text if mark is Mark.PAGE else f"{text} {MARK_NOTES[mark]}".lstrip()


def to_markdown(text: str) -> str:
    """Return a docstring's paragraph as a line of Markdown."""
    return " ".join(text.replace("``", "`").split())


def _read_paragraphs(endpoint: Endpoint[Any, Any]) -> list[str]:
    noun, _, name = endpoint.name.partition(".")
    text = inspect.getdoc(getattr(getattr(_RESOURCES, noun), name)) or ""
    return [to_markdown(paragraph) for paragraph in text.split("\n\n")]
