"""Lookups: access another reseller's client with a code that the client passes on (guide: Lookup)."""

from __future__ import annotations

import secrets
from typing import Final

from bardge_async.sandbox._errors import conflict_error, not_found_error, validation_error
from bardge_async.sandbox._formats import DAY, MINUTE, new_id
from bardge_async.sandbox._pages import Listing, render_page
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row

_ISSUERS: Final = Listing("resellers", "enabled = 1 AND lookup_enabled = 1 AND seq <> ?")
_CODE_LIFETIME: Final = 10 * MINUTE
_TOKEN_LIFETIME: Final = DAY
"""Both are the sandbox's choice."""


def list_issuers(request: SandboxRequest) -> JSON:
    """Answer ``lookups.list_issuers``: every other reseller that has enabled third-party lookup (guide: Lookup)."""
    return render_page(request, _ISSUERS, _issuer_json, request.reseller.seq, noun="Issuers")


def _issuer_json(row: Row) -> JSON:
    return {"object": "issuer", "id": row["id"], "name": row["name"]}


def initiate_lookup(request: SandboxRequest) -> JSON:
    """Answer ``lookups.initiate``.

    The client consents by passing on the code (guide: Lookup). No code is sent to a phone here: the response's message
    contains it, and ``Sandbox.lookup_code`` returns it.
    """
    issuer, client = _find_issuer_and_client(
        request, request.fields.read_str("issuer_id"), request.fields.read_str("client_id")
    )
    id, code = new_id("lkp"), f"{secrets.randbelow(10**6):06d}"
    request.store.insert_row(
        "lookups",
        {
            "id": id,
            "reseller": request.reseller.seq,
            "issuer": issuer["seq"],
            "client": client["seq"],
            "code": code,
            "code_expires_at": request.now_ms + _CODE_LIFETIME,
        },
    )
    return {
        "object": "lookup",
        "id": id,
        "status": "PENDING",
        "issuer_id": issuer["id"],
        "client_id": client["id"],
        "expires_at": request.now_ms + _CODE_LIFETIME,
        "message": f"A code was sent to the client. In the sandbox it is {code}.",
    }


def _find_issuer_and_client(request: SandboxRequest, issuer_id: str, client_id: str) -> tuple[Row, Row]:
    sql = "SELECT * FROM resellers WHERE id = ? AND enabled = 1 AND lookup_enabled = 1 AND seq <> ?"
    issuer = request.store.fetch_one(sql, issuer_id, request.reseller.seq)
    if issuer is None:
        raise not_found_error("issuer", issuer_id)
    client = request.store.fetch_one("SELECT * FROM clients WHERE reseller = ? AND id = ?", issuer["seq"], client_id)
    if client is None:
        raise not_found_error("client", client_id)
    return issuer, client


_SELECT_LOOKUP: Final = (
    "SELECT l.*, r.id AS issuer_id, c.id AS client_id FROM lookups l JOIN resellers r ON r.seq = l.issuer "
    "JOIN clients c ON c.seq = l.client WHERE l.id = ? AND l.reseller = ?"
)


def verify_lookup(request: SandboxRequest) -> JSON:
    """Answer ``lookups.verify``: the token is returned only this once."""
    code, id = request.fields.read_str("access_code"), request.path["lookup_id"]
    lookup = request.store.fetch_one(_SELECT_LOOKUP, id, request.reseller.seq)
    if lookup is None:
        raise not_found_error("lookup", id)
    if lookup["token"] is not None:
        raise conflict_error("lookup_already_verified", f"Lookup {id} is already verified.")
    if lookup["code_expires_at"] <= request.now_ms:
        raise validation_error("access_code", "the code has expired")
    if not secrets.compare_digest(lookup["code"].encode(), code.encode()):
        raise validation_error("access_code", "the code is wrong")
    token, expires_at = f"lkpt_{secrets.token_hex(16)}", request.now_ms + _TOKEN_LIFETIME
    request.store.execute("UPDATE lookups SET token = ?, token_expires_at = ? WHERE id = ?", token, expires_at, id)
    return {
        "object": "lookup",
        "id": id,
        "status": "VERIFIED",
        "issuer_id": lookup["issuer_id"],
        "client_id": lookup["client_id"],
        "lookup_token": token,
        "expires_at": expires_at,
        "message": "Lookup verified successfully",
    }
