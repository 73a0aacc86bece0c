"""Lookups: reach another reseller's client with a code that the client hands over (guide: Lookup)."""

from __future__ import annotations

import secrets
from typing import Final

from bardge_async.sandbox._errors import conflict, forbidden, invalid, not_found
from bardge_async.sandbox._formats import DAY, MINUTE, new_id
from bardge_async.sandbox._pages import Listing, page
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row

_OTHERS: Final = Listing("resellers", "enabled = 1 AND seq <> ?")
_CODE_LASTS: Final = 10 * MINUTE
_TOKEN_LASTS: Final = DAY
"""Both are the sandbox's choice."""


def list_issuers(call: Call) -> JSON:
    """Answer ``lookups.list_issuers``: every other reseller."""
    return page(call, _OTHERS, _issuer, call.reseller.seq, noun="Issuers")


def _issuer(row: Row) -> JSON:
    return {"object": "issuer", "id": row["id"], "name": row["name"]}


def initiate_lookup(call: Call) -> JSON:
    """Answer ``lookups.initiate``.

    No client has a telephone here: the message tells the code, and ``Sandbox.lookup_code`` does.
    """
    issuer, client = _asked_for(call, call.fields.text("issuer_id"), call.fields.text("client_id"))
    if not client["lookup_enabled"]:
        raise forbidden(f"Client {client['id']} does not allow lookups.")
    id, code = new_id("lkp"), f"{secrets.randbelow(10**6):06d}"
    call.store.insert(
        "lookups",
        {
            "id": id,
            "reseller": call.reseller.seq,
            "issuer": issuer["seq"],
            "client": client["seq"],
            "code": code,
            "code_expires_at": call.now + _CODE_LASTS,
        },
    )
    return {
        "object": "lookup",
        "id": id,
        "status": "PENDING",
        "issuer_id": issuer["id"],
        "client_id": client["id"],
        "expires_at": call.now + _CODE_LASTS,
        "message": f"A code was sent to the client. In the sandbox it is {code}.",
    }


def _asked_for(call: Call, issuer_id: str, client_id: str) -> tuple[Row, Row]:
    sql = "SELECT * FROM resellers WHERE id = ? AND enabled = 1 AND seq <> ?"
    issuer = call.store.one(sql, issuer_id, call.reseller.seq)
    if issuer is None:
        raise not_found("issuer", issuer_id)
    client = call.store.one("SELECT * FROM clients WHERE reseller = ? AND id = ?", issuer["seq"], client_id)
    if client is None:
        raise not_found("client", client_id)
    return issuer, client


_LOOKUP: Final = (
    "SELECT l.*, r.id AS issuer_id, c.id AS client_id FROM lookups l JOIN resellers r ON r.seq = l.issuer "
    "JOIN clients c ON c.seq = l.client WHERE l.id = ? AND l.reseller = ?"
)


def verify_lookup(call: Call) -> JSON:
    """Answer ``lookups.verify``: the token is told this once."""
    code, id = call.fields.text("access_code"), call.path["lookup_id"]
    lookup = call.store.one(_LOOKUP, id, call.reseller.seq)
    if lookup is None:
        raise not_found("lookup", id)
    if lookup["token"] is not None:
        raise conflict("lookup_already_verified", f"Lookup {id} is already verified.")
    if lookup["code_expires_at"] <= call.now:
        raise invalid("access_code", "the code has expired")
    if not secrets.compare_digest(lookup["code"].encode(), code.encode()):
        raise invalid("access_code", "the code is wrong")
    token, expires_at = f"lkpt_{secrets.token_hex(16)}", call.now + _TOKEN_LASTS
    call.store.change("UPDATE lookups SET token = ?, token_expires_at = ? WHERE id = ?", token, expires_at, id)
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
