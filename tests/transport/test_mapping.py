"""How the transport maps aiohttp's responses and exceptions, with the network replaced by aioresponses."""

from __future__ import annotations

from typing import Final

import aiohttp
import pytest

from bardge_async import AttemptLimits, ConnectError, NoAnswerError, SystemClock, WireRequest, WireResponse
from bardge_async._network.aiohttp_transport import AiohttpTransport
from tests.support.aioresponses_shim import mock_requests

URL: Final = "https://api.example.com/passes"


async def send_to(**answer: object) -> WireResponse:
    transport = AiohttpTransport(SystemClock())
    try:
        with mock_requests() as answers:
            answers.get(URL, **answer)  # pyright: ignore[reportArgumentType, reportUnknownMemberType]
            return await transport.send(WireRequest("GET", URL, {}), AttemptLimits(5, 5))
    finally:
        await transport.aclose()


async def test_an_answer_is_a_plain_value() -> None:
    """Status, headers and body are returned unchanged."""
    response = await send_to(status=418, payload={"a": 1}, headers={"Bardge-Request-Id": "r"})
    assert (response.status, response.body, response.headers["bardge-request-id"]) == (418, b'{"a": 1}', "r")


@pytest.mark.parametrize(
    "error", [aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError("x"), OSError(), ValueError()]
)
async def test_failures_before_a_connection_are_not_sent(error: Exception) -> None:
    """Every failure before the request is written is a ConnectError."""
    with pytest.raises(ConnectError):
        await send_to(exception=error)


async def test_too_large_is_no_answer() -> None:
    """A declared length above the limit is rejected unread."""
    with pytest.raises((NoAnswerError, ConnectError), match="larger"):
        await send_to(body=b"{}", headers={"Content-Length": str(17 * 2**20)})
