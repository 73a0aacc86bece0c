"""Unusual answers by name: JSON that strict parsers refuse, odd failures, unreadable headers, surplus bytes.

A failure that forgets its work has to arrive, in one piece up to the end of its headers: that failures are seen is what
the promise rests on. A refusal is true. In the moment in which a request is written a surplus answer cannot be told from
its own, so none is sent then.
"""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Mapping
from typing import Any, Final

from campaigns.window.exchange import PAGE, Exchange, encode_payload
from campaigns.window.ledger import Fate, Said, failure

GATEWAY: Final = (502, 503, 504, *range(520, 531))
"""Without the API's error object, these come from in between."""
OWN: Final = (500, 500, 501, 505, 506, 507, 508, 510, 511, 519, 531, 599)
"""All other failures are the handler's, whatever their body."""
REFUSALS: Final = (
    failure(400, "invalid_request_error", "validation_error"),
    failure(404, "invalid_request_error", "pass_not_found"),
    failure(409, "resource_conflict_error", "class_full"),
    failure(422, "invalid_request_error", "unprocessable"),
)
STRAYS: Final = (
    Said(200, {"object": "stray", "id": "stray", "client_id": "stray", "balance": -1}),
    failure(400, "invalid_request_error", "validation_error"),
    failure(409, "idempotency_error", "idempotency_key_reused"),
    failure(500, "api_error"),
)
_ODD_VALUES: Final = (
    rb'"\ud83d"',
    rb'"\udc00 and \uD83D"',
    b'"Ren\xe9"',
    b'"\xff\xfe"',
    b'"a\nb\x00\x1f"',
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1E-99999999999999999999",
    b"0." + b"0" * 400 + b"1",
    b"9" * 5000,
)
_EDGES: Final = (b"", b"\xef\xbb\xbf", b"\xc2\xa0", b"\x0b", b"\x00", b"\xe2\x80\x8b", b"\xe3\x80\x80\r\n")
_MONSTERS: Final = (
    b"[" * 1200 + b"]" * 1200,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b"1e" + b"9" * 30,
    b"-" + b"7" * 20_000,
    b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(1000)) + b"}",
)


def spell_oddly(payload: Mapping[str, Any], rng: random.Random) -> bytes:
    """Encode JSON as strict parsers refuse it, with something odd beside the rest, or within the error object."""
    inner = dict(payload)
    if "error" in inner and rng.random() < 0.5:
        inner["error"] = {"beside": 0, **inner["error"]}
    else:
        inner = {"beside": 0, **inner}
    body = encode_payload(inner).replace(b'"beside": 0', b'"beside": ' + rng.choice(_ODD_VALUES), 1)
    return rng.choice(_EDGES) + body + rng.choice(_EDGES)


def _encode_oddly(x: Exchange, said: Said) -> bytes:
    return x.encode_said(said, spell_oddly(said.payload, x.rng))


async def odd_json(x: Exchange) -> None:
    await x.send(_encode_oddly(x, await x.work()))


async def odd_refusal(x: Exchange) -> None:
    """Refuse the operation, truly, in odd JSON."""
    await x.send(_encode_oddly(x, await x.store.refuse(x.request, x.rng.choice(REFUSALS))))


async def odd_unsettled(x: Exchange) -> None:
    """Refuse without settling anything, in odd JSON; behind a 408 or 425 the work may have been done."""
    status = x.rng.choice([401, 403, 408, 425, 429])
    if status in {408, 425}:
        await x.maybe_work()
    await x.send(_encode_oddly(x, failure(status, "api_error", "unsettled")))


async def odd_failure(x: Exchange) -> None:
    """Do the work, fail, forget the key, and say so in odd JSON, under any status."""
    said = await x.work(Fate.FAIL_AFTER_FORGOTTEN)
    await x.send(_encode_oddly(x, _with_status(said, x.rng.choice(OWN + GATEWAY))))


async def monster(x: Exchange) -> None:
    """Answer with a value that is nested too deeply, has too many digits or too large an exponent."""
    said = await x.work()
    await x.send(x.encode_said(said, _put_monster(said, x.rng)))


async def monster_failure(x: Exchange) -> None:
    said = await x.work(Fate.FAIL_AFTER_FORGOTTEN)
    await x.send(x.encode_said(said, _put_monster(said, x.rng)))


def _put_monster(said: Said, rng: random.Random) -> bytes:
    name = rng.choice(["balance", "message", "x"])
    body = encode_payload({name: 0, **{key: value for key, value in said.payload.items() if key != name}})
    return body.replace(b": 0", b": " + rng.choice(_MONSTERS), 1)


def _with_status(said: Said, status: int) -> Said:
    return Said(status, said.payload, said.replayed) if said.status >= 500 else said


async def page_500(x: Exchange) -> None:
    """Fail as a web framework does, with or without the work done, and forget the key."""
    said = await x.work(x.rng.choice([Fate.FAIL_BEFORE, Fate.FAIL_AFTER_FORGOTTEN]))
    bodies = [
        PAGE,
        b"",
        b"Internal Server Error",
        b'{"status":500,"error":"Internal Server Error"}',
        _truncate(x, said),
    ]
    await x.send(x.encode(x.rng.choice(OWN), x.rng.choice(bodies)))


async def cut_500(x: Exchange) -> None:
    """Do the work, forget the key, and break off in the middle of the failure."""
    content = x.encode_said(await x.work(Fate.FAIL_AFTER_FORGOTTEN))
    await x.send(content[: content.index(b"\r\n\r\n") + 4 + x.rng.randrange(10)])
    x.close()


async def packed_failure(x: Exchange) -> None:
    """Do the work, forget the key, and fail in an encoding that was not asked for, or is broken."""
    said = await x.work(Fate.FAIL_AFTER_FORGOTTEN)
    await x.send(x.encode_said(said, *_pack(x, encode_payload(said.payload))))


async def gateway_failure(x: Exchange) -> None:
    """Do the work, forget the key, and fail with the API's error object under a status that proxies send, too."""
    said = await x.work(Fate.FAIL_AFTER_FORGOTTEN)
    await x.send(x.encode_said(_with_status(said, x.rng.choice(GATEWAY))))


async def bad_gateway(x: Exchange) -> None:
    """Fail in between, before or after the work, without the API's error object."""
    await x.maybe_work()
    bodies = [PAGE, b"", b'{"error": "upstream"}', b'{"error": {}}', b"[]", _truncate(x, failure(502, "api_error"))]
    await x.send(x.encode(x.rng.choice([status for status in GATEWAY if status != 503]), x.rng.choice(bodies)))


def _truncate(x: Exchange, said: Said) -> bytes:
    body = encode_payload(said.payload)
    return body[: x.rng.randrange(len(body))]


async def truncated_json(x: Exchange) -> None:
    """Answer with the beginning of the JSON as a complete body."""
    said = await x.work()
    await x.send(x.encode_said(said, _truncate(x, said)))


async def oversize_header(x: Exchange) -> None:
    said = await x.work()
    await x.send(x.encode_said(said, headers={"X-Big": "x" * x.rng.choice([9_000, 65_000, 70_000])}))
    x.close()


async def many_headers(x: Exchange) -> None:
    count = x.rng.choice([60, 200, 1000])
    await x.send(x.encode_said(await x.work(), headers={f"X-{number}": "y" for number in range(count)}))


async def double_length(x: Exchange) -> None:
    """Send a second length: the same, another one, or that of chunks."""
    content = x.encode_said(await x.work())
    extra = x.rng.choice([b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b""])
    if not extra:
        at = content.index(b"Content-Length")
        extra = content[at : content.index(b"\r\n", at) + 2]
    await x.send(content.replace(b"\r\nContent-Length", b"\r\n" + extra + b"Content-Length", 1))


async def unasked_encoding(x: Exchange) -> None:
    said = await x.work()
    await x.send(x.encode_said(said, *_pack(x, encode_payload(said.payload))))


def _pack(x: Exchange, body: bytes) -> tuple[bytes, Mapping[str, str]]:
    name = x.rng.choice(["br", "zstd", "compress", "gzip, br", "gzip", "rot13"])
    packed = x.rng.choice([body, gzip.compress(body), gzip.compress(body)[:-9], x.rng.randbytes(40), b"\x1b" + body])
    return packed, {"Content-Encoding": name}


async def interim(x: Exchange) -> None:
    """Send interim responses before the answer."""
    said = await x.work()
    await x.send(
        x.rng.choice([b"100 Continue", b"102 Processing", b"103 Early Hints"]).join([b"HTTP/1.1 ", b"\r\n\r\n"])
    )
    await x.send(x.encode_said(said))


async def wrong_date(x: Exchange) -> None:
    """Answer with a wrong date, or none that can be read."""
    said = await x.work()
    days = x.rng.choice([-10_000, -400, -1, 1, 400]) * x.rng.random()
    text = x.encode_date(days * 86_400 * x.rng.choice([1, 1e-2, 1e-3]))
    await x.send(
        x.encode_said(said, headers={"Date": x.rng.choice([text, text, text, "", "soon", "Sun, 99 Xxx 1 GMT"])})
    )


def _draw_stray(x: Exchange) -> bytes:
    content = x.encode_said(x.rng.choice(STRAYS))
    return x.rng.choice([content, content, content[: x.rng.randrange(1, len(content))], b"\r\n", b"HTTP/1.1 ", b"\x00"])


async def double_answer(x: Exchange) -> None:
    """Send more than the answer: the next request must not accept any of it as its own."""
    await x.send(x.encode_said(await x.work()) + _draw_stray(x))


async def early_answer(x: Exchange) -> None:
    """Send an answer while the connection is idle, before the next request; in the moment of its writing it cannot be told."""
    await x.send(x.encode_said(await x.work()))
    for _ in range(x.rng.randrange(1, 4)):
        await asyncio.sleep(x.rng.choice([0.0, 0.1, 2.0]) * x.rng.random())
        if not x.has_next():
            await x.send(_draw_stray(x))
