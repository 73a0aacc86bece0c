"""The server: prepared responses over a bare asyncio protocol, so that only the clients are measured.

Runs in a process of its own (``python -m benchmarks.stub ITEMS CORE``) and prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from typing import Final
from urllib.parse import parse_qs, urlsplit

API_KEY: Final = "sk_benchmark"
CLIENT: Final = "client_000000"
PAGE_SIZE: Final = 100
CLIENTS: Final = 256
REQUEST_ID: Final = "req_0123456789abcdef0123456789abcdef"

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY: Final = re.compile(rb"\r\nidempotency-key: *([!-~]+)", re.IGNORECASE)
_BEARER: Final = f"Bearer {API_KEY}\r\n".encode()


def client_id(number: int) -> str:
    """Return the id of a client by its number."""
    return f"client_{number % CLIENTS:06}"


def booking(number: int) -> dict[str, object]:
    """Return an item of the list, in the shape that the vendor's page shows."""
    return {
        "object": "booking",
        "id": f"booking_{number:016x}",
        "status": ("PENDING", "CONFIRMED", "COMPLETED")[number % 3],
        "type": "spa",
        "service_name": "Deep Tissue Massage, Aromatherapy",
        "provider_name": "Lekki Spa",
        "date": f"2026-05-{number % 28 + 1:02}",
        "time": "07:00",
        "scheduled_for": 1747724400 + number,
        "created": 1747700000 + number,
        "message": "Booking confirmed",
    }


def page(first: int, size: int, items: int) -> dict[str, object]:
    """Return one page of the list."""
    last = min(first + size, items)
    data = [booking(number) for number in range(first, last)]
    url = f"/v3/api/business/reseller/clients/{CLIENT}/bookings"
    return {"object": "list", "url": url, "has_more": last < items, "data": data}


def issued_pass(client: str) -> dict[str, object]:
    """Return the response to a GET, in the shape that the vendor's page shows."""
    category = {"type": "SPA", "duration": "MONTHLY", "credit_allocated": 20, "visits_allowed": 4}
    return {
        "object": "issued_pass",
        "id": "brgpass_abc123",
        "passcode": "ABC12345",
        "status": "ACTIVE",
        "categories": [category],
        "created": 1746700000000,
        "client_id": client,
        "transaction_id": "txn_abc123",
        "tx_ref": "FLW-TXN-ABCDEFGH",
        "pass_id": "pass_abc123",
        "pass_name": "Gold",
        "start_date": 1746700000000,
        "expires_at": 1777636800000,
    }


def purchase(client: str) -> dict[str, object]:
    """Return the response to a POST."""
    return {
        "object": "credit_purchase",
        "id": "cpur_abc123",
        "client_id": client,
        "package_id": "cpkg_50",
        "credits": 50000,
        "amount": 45000,
        "currency": "NGN",
        "balance": 75000,
        "created": 1746700000000,
    }


def answer(value: object, status: str = "200 OK") -> bytes:
    """Return a complete HTTP response."""
    body = json.dumps(value, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nBardge-Request-Id: {REQUEST_ID}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Answers:
    """All responses, prepared before the first request, and counters for the check after a run."""

    def __init__(self, items: int) -> None:
        self.items = items
        self.requests = 0
        self.keys: set[bytes] = set()
        clients = [client_id(number) for number in range(CLIENTS)]
        self.gets = {f"/issued_passes/{client}".encode(): answer(issued_pass(client)) for client in clients}
        self.purchases = {client.encode(): answer(purchase(client)) for client in clients}
        self._walk = f"/clients/{CLIENT}/bookings"
        for first in range(0, items, PAGE_SIZE):
            after = f"&starting_after=booking_{first - 1:016x}" if first else ""
            self.gets[f"{self._walk}?limit={PAGE_SIZE}{after}".encode()] = answer(page(first, PAGE_SIZE, items))

    def get(self, head: bytes) -> bytes:
        """Return the response to a GET."""
        if _BEARER not in head:
            return answer({"error": {"message": "no key"}}, "401 Unauthorized")
        self.requests += 1
        target = head[4 : head.index(b" ", 4)]
        return self.gets.get(target) or self._other(target.decode())

    def post(self, head: bytes, body: bytes) -> bytes:
        """Return the response to a purchase, which must have a key and name a client."""
        self.requests += 1
        key = _KEY.search(head)
        at = body.find(b"client_", body.find(b'"client_id"') + 11)
        found = self.purchases.get(body[at : at + len(CLIENT)])
        if key is None or found is None or _BEARER not in head:
            return answer({"error": {"message": "no key, or an unknown client"}}, "400 Bad Request")
        self.keys.add(key[1])
        return found

    def _other(self, target: str) -> bytes:
        """Return a response that was not prepared: for query parameters in another order, and the counters."""
        parts = urlsplit(target)
        if parts.path == "/_stats":
            self.requests -= 1
            return answer({"requests": self.requests, "keys": len(self.keys), "cpu": time.process_time()})
        query = parse_qs(parts.query)
        if parts.path != self._walk:
            return answer({"error": {"message": "not found"}}, "404 Not Found")
        first = int(query.get("starting_after", ["booking_-1"])[0].removeprefix("booking_"), 16) + 1
        return answer(page(first, int(query.get("limit", ["100"])[0]), self.items))


class Stub(asyncio.Protocol):
    """One connection: any number of requests in one read, answered in one write."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to every complete request."""
        data = self._rest + data
        out: list[bytes] = []
        at = 0
        while (end := data.find(b"\r\n\r\n", at)) >= 0:
            head = data[at : end + 2]
            begin = end + 4
            if head.startswith(b"GET "):
                out.append(self._answers.get(head))
            else:
                length = _LENGTH.search(head)
                stop = begin + int(length[1] if length else 0)
                if len(data) < stop:
                    break
                out.append(self._answers.post(head, data[begin:stop]))
                begin = stop
            at = begin
        self._rest = data[at:]
        self._transport.write(b"".join(out))


async def _serve(items: int) -> None:
    answers = Answers(items)
    server = await asyncio.get_running_loop().create_server(lambda: Stub(answers), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until the process is terminated."""
    core = int(sys.argv[2])
    if core >= 0:
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
