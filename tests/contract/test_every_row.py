"""Every endpoint is called once end to end: through its method, over a socket, and back into a value."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from bardge_async import ENDPOINTS, KeySupport, Walk
from tests.contract.examples import EXAMPLES, Made
from tests.contract.rows import NAMES
from tests.support.rig import open_rig
from tests.support.server import Received, reply

TOKEN = "bardge-lookup-token"


async def await_result(made: Made) -> object:
    return tuple([item async for item in made]) if isinstance(made, Walk) else await made


async def call_endpoint(name: str) -> tuple[Received, object]:
    """Call an endpoint; return the one request that arrived, and the result."""
    example = EXAMPLES[name]
    async with open_rig(reply(200, example.answer)) as it:
        result = await await_result(example.call(it.bardge))
    (request,) = it.server.requests
    return request, result


def list_expected_headers(name: str) -> dict[str, bool]:
    row = ENDPOINTS[name]
    return {
        "authorization": True,
        "accept": True,
        "user-agent": True,
        "content-type": row.method == "POST",
        "idempotency-key": row.key is not KeySupport.NO,
        TOKEN: row.lookup_token,
        "cookie": False,
    }


@pytest.mark.parametrize("name", NAMES)
async def test_row(name: str) -> None:
    """The method sends the request as the notes show it, and its response becomes the documented value."""
    example = EXAMPLES[name]
    request, result = await call_endpoint(name)
    assert (request.method, request.path) == (ENDPOINTS[name].method, example.path)
    assert dict(parse_qsl(request.target.partition("?")[2])) == example.query
    assert (json.loads(request.body) if request.body else None) == example.sent
    assert {header: header in request.headers for header in list_expected_headers(name)} == list_expected_headers(name)
    assert result == example.result
    assert type(result) is type(example.result)


async def test_header_values() -> None:
    """Bearer key, JSON both ways, the token as given."""
    request, _ = await call_endpoint("access_codes.generate")
    wanted = {
        "authorization": "Bearer key",
        "accept": "application/json",
        "content-type": "application/json",
        TOKEN: "lkpt_abc123",
    }
    assert {name: request.headers[name] for name in wanted} == wanted


async def test_fresh_keys() -> None:
    """Two POSTs outside a block are sent under different keys of at least 128 random bits."""
    keys = [(await call_endpoint("credits.purchase"))[0].headers["idempotency-key"] for _ in range(2)]
    assert (len(set(keys)), min(map(len, keys)) >= 32) == (2, True)


async def test_documented_bytes() -> None:
    """A request body is exactly the documented JSON, without whitespace."""
    request, _ = await call_endpoint("passes.update_expiry")
    assert request.body == b'{"expiry_date":"2026-12-31"}'


def test_examples_are_complete() -> None:
    """There is exactly one example for every endpoint."""
    assert set(EXAMPLES) == set(NAMES)
