"""Whatever spelling of the API key a server echoes: it is in no error, log line, event, journal and repr of ours."""

from __future__ import annotations

import base64
import html
import json
import logging
import pickle
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from bardge_async import (
    APIError,
    BardgeClient,
    BardgeError,
    DecodeError,
    Event,
    PurchaseCredits,
    RetryPolicy,
    SQLiteJournal,
    WireRequest,
    WireResponse,
)
from bardge_async._core.redaction import KeyRedactor
from bardge_async.testing import FakeTransport, ManualClock, json_response

KEY: Final = "c2s/bGl2ZV9DQU5BUlk+MDEy&MzQ1<Ng==_~x"
PURCHASE: Final = PurchaseCredits(client_id="c", package_id="p")


def _escape_all_percent(text: str) -> str:
    return "".join(f"%{ord(char):02x}" for char in text)


def _encode_after(before: str, after: str = "") -> Callable[[str], str]:
    return lambda text: base64.b64encode(f"{before}{text}{after}".encode()).decode()


SPELLINGS: Final[dict[str, Callable[[str], str]]] = {
    "plain": str,
    "slash": lambda text: text.replace("/", "\\/"),
    "unicode": lambda text: text.replace("+", "\\u002b").replace("<", "\\u003C"),
    "all unicode": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "json in json": lambda text: json.dumps(text.replace("/", "\\/").replace("<", "\\u003c"))[1:-1],
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent in lower case": lambda text: re.sub("%..", lambda one: one[0].lower(), urllib.parse.quote(text, safe="")),
    "all percent": _escape_all_percent,
    "percent twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe="")),
    "html": html.escape,
    "html numbers": lambda text: text.replace("/", "&#x2F;").replace("+", "&#43;"),
    "base64": _encode_after(""),
    "base64 of the header": _encode_after("Bearer "),
    "base64 after one": _encode_after("a", "zz"),
    "base64 after two": _encode_after("ab", "z"),
    "base64 after three": _encode_after("user", ":password"),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(f"??>{text}".encode()).decode(),
    "base64 in JSON": lambda text: _encode_after("a")(text).replace("/", "\\/").replace("+", "\\u002b"),
    "base64 in a URL": lambda text: urllib.parse.quote(_encode_after("ab")(text), safe=""),
}


def find_key(text: str) -> bool:
    """Return whether a part of the key's middle is in a text, in any of the spellings."""
    middle = KEY[3:-4]
    decoded = [text, text.replace("\\", ""), html.unescape(text), urllib.parse.unquote(urllib.parse.unquote(text))]
    decoded += [one.replace("u002b", "+").replace("u003c", "<").replace("u003C", "<") for one in decoded]
    cores = [base64.b64encode(b"x" * shift + KEY.encode())[4:-8].decode() for shift in range(3)]
    cores += [core.replace("+", "-").replace("/", "_") for core in cores]
    return any(part in one for one in decoded for part in (middle, *cores, SPELLINGS["all unicode"](middle)[1:]))


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_replaced(name: str) -> None:
    """Nothing of the key is left but what a shared base64 group may hold, and what surrounds it stays."""
    text = f'{{"seen": "before {SPELLINGS[name](KEY)} after", "x": 1}}'
    redacted = KeyRedactor(KEY).redact_text(text)
    assert not find_key(redacted)
    assert json.loads(redacted)["seen"].startswith("before ")
    assert redacted.endswith(' after", "x": 1}')


@pytest.mark.parametrize(("before", "left"), [(0, 0), (1, 2), (2, 3), (3, 4)])
def test_no_character_of_the_key_is_left(before: int, left: int) -> None:
    """Before the replacement stand only those base64 characters that other data share: ceil(4/3) of their bytes."""
    text = base64.b64encode(b"x" * before + KEY.encode() + b"zz").decode()
    redacted = KeyRedactor(KEY).redact_text(text)
    assert redacted != text
    assert (redacted[:left], redacted[left : left + 1].isalnum()) == (text[:left], False)


@pytest.mark.parametrize("text", ["", "plain", "20 % off", '{"a": "b\\n\\u00e9 c"}', "&amp; %2F", KEY[:-1], "a" * 1000])
def test_other_text_is_the_same_object(text: str) -> None:
    """What does not have the key is not touched, not even copied."""
    redactor = KeyRedactor(KEY)
    body = text.encode()
    assert redactor.redact_text(text) is text
    assert redactor.redact_body(body) is body


def test_bytes_that_are_no_text_stay() -> None:
    """Bytes around the key stay as they are, whatever they are."""
    body = bytes(range(256)) + KEY.encode() + bytes(range(255, -1, -1))
    assert KeyRedactor(KEY).redact_body(body) == bytes(range(256)) + b"***" + bytes(range(255, -1, -1))


def test_a_redactor_does_not_show_the_key() -> None:
    """What is derived from the key is masked, as the key is."""
    redactor = KeyRedactor(KEY)
    redactor.redact_text(KEY)
    assert not find_key(repr(redactor) + repr(redactor._texts) + repr(redactor._literals))


def echo(status: int, body: Callable[[str], Any], spell: Callable[[str], str]) -> Callable[[WireRequest], WireResponse]:
    """Answer with the key of the request in request id, another header and body."""

    def answer(request: WireRequest) -> WireResponse:
        spelled = spell(str(request.headers["Authorization"]).removeprefix("Bearer "))
        # The spelling itself is JSON already, where it has escapes.
        text = json.dumps(body("@KEY@")).replace("@KEY@", spelled)
        headers = {"Bardge-Request-Id": f"req_{spelled}", "X-Seen": f"Bearer {spelled}"}
        plain = json_response({}, status, headers)
        return WireResponse(status, plain.headers, text.encode())

    return answer


def make_error(text: str) -> dict[str, object]:
    return {"error": {"type": text, "code": text, "message": f"no key {text}", "request_id": text}}


def collect_text(error: BaseException) -> str:
    """Return all that an error shows."""
    return "\n".join(
        [str(error), repr(error), repr(getattr(error, "__notes__", "")), repr(vars(error)), repr(pickle.dumps(error))]
    )


def read_files(folder: Path) -> str:
    return b"".join(one.read_bytes() for one in folder.iterdir()).decode("latin-1")


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> list[Event]:
    caplog.set_level(logging.DEBUG)
    return []


BODIES: Final[dict[str, tuple[int, Callable[[str], Any], type[BardgeError]]]] = {
    "error": (400, make_error, APIError),
    "wrong shape": (201, lambda text: [text], DecodeError),
    "fault": (500, make_error, BardgeError),
    "page": (502, lambda text: text, BardgeError),
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("name", SPELLINGS)
async def test_errors(
    name: str, case: str, seen: list[Event], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """An answer that is an error shows the key nowhere, nor does the journal hold it."""
    status, body, error = BODIES[case]
    transport = FakeTransport(echo(status, body, SPELLINGS[name]))
    options: dict[str, Any] = {"hooks": [seen.append], "clock": ManualClock(), "retry": RetryPolicy(max_attempts=1)}
    with SQLiteJournal(tmp_path / "j.db") as journal:
        async with BardgeClient(KEY, transport=transport, journal=journal, **options) as bardge:
            with pytest.raises(error) as caught:
                await bardge.send("credits.purchase", request=PURCHASE, key="k")
            assert not find_key(collect_text(caught.value))
    assert not find_key(caplog.text + repr(seen))
    assert not find_key(read_files(tmp_path))


@pytest.mark.parametrize("name", SPELLINGS)
async def test_successes(name: str, seen: list[Event], caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """An answer that succeeds shows it in no header, log, event and journal; the value is as the server sent it."""
    step = echo(201, lambda text: {"balance": 1, "seen": text}, SPELLINGS[name])
    with SQLiteJournal(tmp_path / "j.db") as journal:
        options: dict[str, Any] = {"hooks": [seen.append], "clock": ManualClock(), "journal": journal}
        async with BardgeClient(KEY, transport=FakeTransport(step), **options) as bardge:
            first = await bardge.send("credits.purchase", request=PURCHASE, key="k")
            again = await bardge.send("credits.purchase", request=PURCHASE, key="k")
    assert not find_key(f"{first.headers} {first.request_id} {again!r} {caplog.text} {seen}")
    assert first.value.extra["seen"] == json.loads(f'"{SPELLINGS[name](KEY)}"')
    assert not find_key(read_files(tmp_path))


async def test_the_request_id_of_a_page() -> None:
    """A page of a list has a redacted request id, too."""
    step = echo(200, lambda _: {"data": [], "has_more": False}, str)
    async with BardgeClient(KEY, transport=FakeTransport(step), clock=ManualClock()) as bardge:
        page = (await bardge.send("passes.list")).value
    assert not find_key(repr(page))


async def test_hostile_bodies_take_no_time() -> None:
    """Runs of escapes are searched in linear time: 2 MiB of them in much less than a second a MiB."""
    redactor = KeyRedactor(KEY)
    for mark in ("\\", "%", "%25", "&#0", "c2s/", "\\\\c"):
        text = mark * (2**21 // len(mark))
        assert redactor.redact_text(text) is text
