"""Examine account, contract and machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from bardge_async import BardgeClient, RetryPolicy, Timeouts
from bardge_async._core.redaction import get_redactor
from bardge_async.doctor._contract import ContractExaminer
from bardge_async.doctor._findings import Check, Examination, RowFinding, RowStatus, show_name
from bardge_async.doctor._machine import check_machine
from bardge_async.endpoints import ENDPOINTS, LIST_ISSUERS, LIST_PASSES, LIST_PROVIDERS
from bardge_async.errors import APIError, AuthenticationError, BardgeError, NoAnswerError, PermissionDeniedError

# One repeat, and soon: a diagnosis says quickly that nothing answers.
_TIMEOUTS: Final = Timeouts(total=20, attempt=10, connect=5)
_RETRY: Final = RetryPolicy(max_attempts=2, base=0.1)
_FIRST_ROWS: Final = (LIST_PASSES, LIST_PROVIDERS, LIST_ISSUERS)
"""They need no id. One unreadable answer says nothing about the others."""


async def examine(client: BardgeClient, *, client_id: str | None = None) -> Examination:
    """Compare what the server answers with what the table and the models say; nothing is written to the server.

    About 50 GETs are sent, one after another, with time limits of their own (10 s an attempt). Findings hold names and
    types, never values. Whatever the server answers, nothing is raised: what could not be examined is reported.

    Args:
        client: The client to examine with; its ``paths=`` are used.
        client_id: A client of yours: without it the endpoints of one client are not examined.

    Raises:
        ConfigurationError: The client's ``api_key`` callable failed.
    """
    client = client.with_options(timeout=_TIMEOUTS, retry=_RETRY)
    settings = client._caller.settings  # noqa: SLF001 - of this package
    hide = get_redactor(await settings.credentials.get_header()).redact_text
    account = await _check_account(client, hide)
    rows = await ContractExaminer(client, client_id, hide).examine_rows() if account.ok else ()
    if account.ok and not any(row.answered for row in rows):
        wrong_place = any(row.path_missing for row in rows)
        text = "answers as the API does: check the base URL" if wrong_place else "gives a usable answer"
        account = Check("account", False, f"no endpoint {text}")
        rows = tuple(row.excuse("no endpoint answers") if row.path_missing else row for row in rows)
    machine = await check_machine(client, settings.base_url, _find_probe_path(rows))
    checks = tuple(attrs.evolve(check, text=hide(check.text)) for check in (*machine, account))
    return Examination(checks[:-1], checks[-1], rows)


async def _check_account(client: BardgeClient, hide: Callable[[str], str]) -> Check:
    """Send a GET or a few; any answer but a refusal of the key means that it was accepted."""
    problem = ""
    for endpoint in _FIRST_ROWS:
        try:
            await client.send(endpoint)
            break
        except AuthenticationError as error:
            return Check("account", False, f"refused: {show_name(hide(error.code or str(error.status)))}")
        except PermissionDeniedError as error:
            if error.code == "account_disabled":
                return Check("account", False, "refused: account_disabled")
            break
        except APIError:
            break
        except NoAnswerError as error:
            problem = f"cannot connect: {_describe(error)}"
            if error.timed_out:
                return Check("account", False, problem)
        except BardgeError as error:
            if not error.sent:
                return Check("account", False, f"cannot connect: {_describe(error)}")
            break
    else:
        return Check("account", False, problem)
    return Check("account", True, "the key is accepted; which reseller it belongs to cannot be known")


def _find_probe_path(rows: tuple[RowFinding, ...]) -> str | None:
    """Return the path of an endpoint that answers and needs no id."""
    good = (row for row in rows if row.status is RowStatus.EXAMINED and not ENDPOINTS[row.endpoint].path_parameters)
    return next((row.path for row in good), None)


def _describe(error: BardgeError) -> str:
    return str(error).removeprefix("cannot connect: ")
