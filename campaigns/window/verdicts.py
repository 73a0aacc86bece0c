"""What must hold: what a call reported, against what the server knows."""

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
    """How a delivery ended: ``outcome`` is its value or what it raised; ``arrived`` counts its requests at the server."""

    delivery: Delivery
    outcome: object
    requests: int
    arrived: int

    @property
    def word(self) -> str:
        """Name the end, for the history."""
        outcome = self.outcome
        return f"{type(outcome).__name__}: {outcome!s:.110}" if isinstance(outcome, BaseException) else "done"


class BlameError(Exception):
    """The library did what it must not."""


def _must(what: str, holds: object) -> None:
    if not holds:
        raise BlameError(what)


def check(ended: Ended, ledger: Ledger) -> None:
    """Hold a delivery's end against the ledger, now and once all is over.

    Raises:
        BlameError: They do not agree.
    """
    outcome, delivery = ended.outcome, ended.delivery
    again, done = delivery.kind.again, len(ledger.charges[delivery.op])
    if again not in {"same", "get"}:
        _must("charged at most once", ledger.count(delivery.op) <= 1)
    if isinstance(outcome, asyncio.CancelledError):
        told = any("its outcome is " in note for note in getattr(outcome, "__notes__", ()))
        mine = ledger.by(delivery.op, delivery.number)
        _must("a cancelled POST that may be executed says so", told or again in {"same", "get"} or not mine)
    elif not isinstance(outcome, BaseException):
        named = {getattr(outcome, name, None) for name in ("id", "client_id")}
        _must("the answer is this operation's own", again == "get" or named <= {None, delivery.op})
        _must("done means executed", done or again == "get")
    else:
        _must("nothing else escapes", isinstance(outcome, errors.BardgeError))
        _error(ended, ledger)


def _error(ended: Ended, ledger: Ledger) -> None:
    error, delivery = ended.outcome, ended.delivery
    done, mine = len(ledger.charges[delivery.op]), ledger.by(delivery.op, delivery.number)
    harmless = delivery.kind.again in {"same", "get"}
    match error:
        case errors.OutcomeUnknownError():
            _must("only a POST's outcome can be unknown", delivery.kind.again != "get")
            keyed = delivery.kind.row.key is not KeySupport.NO
            _must("an unknown outcome has its key", (error.idempotency_key is not None) == keyed)
            _must("it is the key of the call", delivery.key in {None, error.idempotency_key})
        case errors.NotSentError():
            _must("not sent means that nothing arrived", not ended.arrived)
        case errors.IdempotencyMisuseError():
            _must("misuse is refused before it is sent", not ended.requests)
        case errors.AlreadyDoneError() | errors.DecodeError():
            _must("executed means executed", done or delivery.kind.again == "get")
        case errors.ServerError():
            _must("a charging POST's failure is an unknown outcome", harmless)
        case errors.NoAnswerError():
            _must("only a GET may stay unanswered", delivery.kind.again == "get")
        case errors.APIError():
            own = isinstance(error, errors.ResourceConflictError) and error.sent_before
            _must("refused means not executed", not mine or harmless or own)
        case _:
            raise BlameError("a call ends known-done, known-refused or unknown")


def check_journal(ended: Ended, record: JournalEntry | None, ledger: Ledger, *, alone: bool) -> None:
    """Hold the journal's entry, right after a delivery's end, against the ledger and, where it was alone, its end."""
    outcome, delivery = ended.outcome, ended.delivery
    state = None if record is None else record.state
    charged = ledger.charges[delivery.op]
    if state is EntryState.DONE:
        _must("done in the journal means executed", charged)
    elif state is not EntryState.SENT and delivery.kind.again != "same":
        _must(f"{state} in the journal means not executed", not ledger.count(delivery.op))
    if not alone or isinstance(outcome, errors.IdempotencyMisuseError):
        return
    if isinstance(outcome, errors.OutcomeUnknownError):
        _must(f"an unknown outcome is in doubt in the journal, not {state}", state is EntryState.SENT)
    elif not isinstance(outcome, BaseException) or isinstance(outcome, errors.DecodeError):
        _must(f"done is done in the journal, not {state}", state is EntryState.DONE)
    elif not isinstance(outcome, asyncio.CancelledError):
        known = state is not EntryState.SENT or isinstance(outcome, errors.ServerError)
        _must("a known end is known in the journal", known)
