"""The faults by name: each is one way to handle a request that has been read. Unusual answers are in ``answers``."""

from __future__ import annotations

import asyncio
import gzip

import attrs

from campaigns.window.exchange import PAGE, Exchange, encode_payload
from campaigns.window.ledger import MARGIN, REMEMBERED, RUNNING, Fate, failure


async def well(x: Exchange) -> None:
    await x.send(x.encode_said(await x.work()))


async def reset_before(x: Exchange) -> None:
    x.reset()


async def reset_after(x: Exchange) -> None:
    await x.work()
    x.reset()


async def hang_before(x: Exchange) -> None:
    await x.wait_for_close()


async def hang_after(x: Exchange) -> None:
    await x.work()
    await x.wait_for_close()


async def cut_header(x: Exchange) -> None:
    content = x.encode_said(await x.work())
    await x.send(content[: x.rng.randrange(1, content.index(b"\r\n\r\n"))])
    x.close()


async def cut_body(x: Exchange) -> None:
    content = x.encode_said(await x.work())
    await x.send(content[: x.rng.randrange(content.index(b"\r\n\r\n") + 4, len(content))])
    x.close()


async def bad_json(x: Exchange) -> None:
    said = await x.work()
    body = encode_payload(said.payload)
    await x.send(x.encode(said.status, x.rng.choice([body[:-1], body + b"}", b"{'a': 1}", b"\xff\xfe", b"null,"])))


async def html_200(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(x.encode(200, PAGE, {"Content-Type": "text/html"}))


async def empty_200(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(x.encode(200, b""))


async def error_before(x: Exchange) -> None:
    await x.send(x.encode_said(await x.work(Fate.FAIL_BEFORE)))


async def error_after_remembered(x: Exchange) -> None:
    await x.send(x.encode_said(await x.work(x.rng.choice([Fate.FAIL_AFTER, Fate.FAIL_AFTER_KEPT]))))


async def error_after_forgotten(x: Exchange) -> None:
    await x.send(x.encode_said(await x.work(Fate.FAIL_AFTER_FORGOTTEN)))


async def cached_500(x: Exchange) -> None:
    said = await x.work(x.rng.choice([Fate.FAIL_CACHED, Fate.FAIL_AFTER]))
    await x.send(x.encode_said(attrs.evolve(said, replayed=True)))


async def unavailable(x: Exchange) -> None:
    await x.maybe_work()
    after = x.rng.choice(["1", "3", "30", "100", "Sun, 06 Nov 1994 08:49:37 GMT", "soon"])
    body = x.rng.choice([PAGE, b"", encode_payload(failure(503, "api_error").payload)])
    await x.send(x.encode(503, body, {"Retry-After": after}))


async def too_many(x: Exchange) -> None:
    said = failure(429, "api_error")
    after = x.rng.choice(["0", "1", "2", "7", "-5"])
    await x.send(x.encode(429, encode_payload(said.payload), {"Retry-After": after}))


async def timeout_408(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(x.encode(x.rng.choice([408, 425]), x.rng.choice([b"", encode_payload(failure(408, "e").payload)])))
    x.close()


async def unauthorized(x: Exchange) -> None:
    status, code = x.rng.choice([(401, "token_expired"), (403, "account_disabled")])
    await x.send(x.encode_said(failure(status, "authentication_error", code)))


async def page_404(x: Exchange) -> None:
    await x.send(x.encode(x.rng.choice([400, 404, 409]), PAGE))


async def redirect(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(x.encode(x.rng.choice([301, 302, 307, 308]), b"", {"Location": x.request.path}))


async def in_progress(x: Exchange) -> None:
    """Respond that the request is in progress, as if a proxy had sent it twice."""
    twin = asyncio.ensure_future(x.work())
    await x.send(x.encode_said(RUNNING))
    await twin


async def slow_drip(x: Exchange) -> None:
    content = x.encode_said(await x.work())
    pause = x.rng.choice([0.01, 0.3, 4.0])
    for at in range(0, len(content), 32):
        await x.send(content[at : at + 32])
        await asyncio.sleep(pause)


async def garbage(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(
        x.rng.choice([x.rng.randbytes(200), b"HTTP/9.9 abc\r\n\r\n", b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02\x02\x16"])
    )
    x.close()


async def bad_gzip(x: Exchange) -> None:
    packed = gzip.compress(encode_payload((await x.work()).payload))
    broken = x.rng.choice([packed[:-9], packed[:5] + packed[9:], b"no gzip at all"])
    await x.send(x.encode(200, broken, {"Content-Encoding": "gzip"}))


async def odd_shape(x: Exchange) -> None:
    said = await x.work()
    await x.send(x.encode(200, b'[1, "odd"]') if said.ok else x.encode_said(said))


async def idle_408(x: Exchange) -> None:
    """Close the connection while it is idle, as load balancers do, with or without a 408."""
    await x.send(x.encode_said(await x.work()))
    await asyncio.sleep(x.rng.random() * 3)
    if x.rng.random() < 0.5:
        await x.send(x.encode(408, PAGE))
    x.close()


async def stall(x: Exchange) -> None:
    """Delay the handling of the request, within the margin."""
    await asyncio.sleep(x.rng.random() * MARGIN * 0.95)
    await well(x)


async def late(x: Exchange) -> None:
    """Start to handle the request after its key expired: the one thing that no client can prevent."""
    await asyncio.sleep(REMEMBERED + x.rng.uniform(5, 60))
    await well(x)
