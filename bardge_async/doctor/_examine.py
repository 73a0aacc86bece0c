"""Examine machine, account and contract, in this order."""

from __future__ import annotations

from bardge_async import BardgeClient
from bardge_async.doctor._contract import ContractExaminer
from bardge_async.doctor._findings import Check, Examination
from bardge_async.doctor._machine import check_machine
from bardge_async.endpoints import LIST_PASSES
from bardge_async.errors import APIError, AuthenticationError, BardgeError, PermissionDeniedError


async def examine(client: BardgeClient, *, client_id: str | None = None) -> Examination:
    """Compare what the server answers with what the table and the models say; nothing is written to the server.

    About 50 GETs are sent, one after another. Findings hold names and types, never values.

    Args:
        client: The client to examine with; its ``paths=`` are used.
        client_id: A client of yours: without it the endpoints of one client are not examined.
    """
    account = await _check_account(client)
    base_url = client._caller.settings.base_url  # noqa: SLF001 - of this package
    machine = await check_machine(client, base_url, reachable=account.ok is True)
    rows = await ContractExaminer(client, client_id).examine_rows() if account.ok else ()
    return Examination(machine, account, rows)


async def _check_account(client: BardgeClient) -> Check:
    """Send one GET; any answer but a refusal of the key means that it was accepted."""
    try:
        await client.send(LIST_PASSES)
    except (AuthenticationError, PermissionDeniedError) as error:
        return Check("account", False, f"refused: {error.code or error.status}")
    except APIError:
        pass
    except BardgeError as error:
        if not error.sent:
            return Check("account", False, f"cannot connect: {error}")
    return Check("account", True, "the key is accepted; which reseller it belongs to cannot be known")
