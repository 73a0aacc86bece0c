"""The rules that must hold between what a call reported and what the server knows."""

from __future__ import annotations

import asyncio

import attrs

from bardge_async import errors
from bardge_async._core.entry import EntryState, JournalEntry
from bardge_async.endpoints import KeySupport
from campaigns.window.ledger import Ledger
from campaigns.window.operations import Delivery


@attrs.frozen
class Ended:
    """How a delivery ended: ``outcome`` is its value or exception; ``arrived`` counts its requests at the server."""

    delivery: Delivery
    outcome: object
    requests: int
    arrived: int

    @property
    def word(self) -> str:
        """The outcome as text, for the history."""
        outcome = self.outcome
        return f"{type(outcome).__name__}: {outcome!s:.110}" if isinstance(outcome, BaseException) else "done"


class BlameError(Exception):
    """The library broke a rule."""


def _require(what: str, holds: object) -> None:
    if not holds:
        raise BlameError(what)


def check(ended: Ended, ledger: Ledger) -> None:
    """Compare a delivery's outcome with the ledger, now and at the end of the run.

    Raises:
        BlameError: They disagree.
    """
    outcome, delivery = ended.outcome, ended.delivery
    again, done = delivery.kind.again, len(ledger.charges[delivery.op])
    if again not in {"same", "get"}:
        _require("charged at most once", ledger.count(delivery.op) <= 1)
    if isinstance(outcome, asyncio.CancelledError):
        noted = any("its outcome is " in note for note in getattr(outcome, "__notes__", ()))
        mine = ledger.by(delivery.op, delivery.number)
        _require("a cancelled POST that may be executed says so", noted or again in {"same", "get"} or not mine)
    elif not isinstance(outcome, BaseException):
        named = {getattr(outcome, name, None) for name in ("id", "client_id")}
        _require("the response belongs to this operation", again == "get" or named <= {None, delivery.op})
        _require("done means executed", done or again == "get")
    else:
        _require("nothing else escapes", isinstance(outcome, errors.BardgeError))
        _check_error(ended, ledger)


def _check_error(ended: Ended, ledger: Ledger) -> None:
    error, delivery = ended.outcome, ended.delivery
    done, mine = len(ledger.charges[delivery.op]), ledger.by(delivery.op, delivery.number)
    harmless = delivery.kind.again in {"same", "get"}
    match error:
        case errors.OutcomeUnknownError():
            _require("only a POST's outcome can be unknown", delivery.kind.again != "get")
            keyed = delivery.kind.row.key is not KeySupport.NO
            _require("an unknown outcome has its key", (error.idempotency_key is not None) == keyed)
            _require("it is the key of the call", delivery.key in {None, error.idempotency_key})
        case errors.NotSentError():
            _require("not sent means that nothing arrived", not ended.arrived)
        case errors.IdempotencyMisuseError():
            _require("misuse is rejected before it is sent", not ended.requests)
        case errors.AlreadyDoneError() | errors.DecodeError():
            _require("executed means executed", done or delivery.kind.again == "get")
        case errors.ServerError():
            _require("a charging POST's failure is an unknown outcome", harmless)
        case errors.NoAnswerError():
            _require("only a GET may end without a response", delivery.kind.again == "get")
        case errors.APIError():
            own = isinstance(error, errors.ResourceConflictError) and error.sent_before
            _require("refused means not executed", not mine or harmless or own)
        case _:
            raise BlameError("a call ends as done, refused or unknown")


def check_journal(ended: Ended, entry: JournalEntry | None, ledger: Ledger, *, alone: bool) -> None:
    """Compare the journal's entry after a delivery with the ledger and, if no other delivery ran, with its outcome."""
    outcome, delivery = ended.outcome, ended.delivery
    state = None if entry is None else entry.state
    charged = ledger.charges[delivery.op]
    if state is EntryState.DONE:
        _require("done in the journal means executed", charged)
    elif state is not EntryState.SENT and delivery.kind.again != "same":
        _require(f"{state} in the journal means not executed", not ledger.count(delivery.op))
    if not alone or isinstance(outcome, errors.IdempotencyMisuseError):
        return
    if isinstance(outcome, errors.OutcomeUnknownError):
        _require(f"an unknown outcome is in doubt in the journal, not {state}", state is EntryState.SENT)
    elif not isinstance(outcome, BaseException) or isinstance(outcome, errors.DecodeError):
        _require(f"a done operation is done in the journal, not {state}", state is EntryState.DONE)
    elif not isinstance(outcome, asyncio.CancelledError):
        known = state is not EntryState.SENT or isinstance(outcome, errors.ServerError)
        _require("a known outcome is known in the journal", known)
