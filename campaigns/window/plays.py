"""All faults by name, and what is particular to some."""

from __future__ import annotations

from typing import Final

from campaigns.window import answers, faults
from campaigns.window.exchange import Play

PLAYS: Final[dict[str, Play]] = {
    play.__name__: play
    for play in (
        faults.reset_before,
        faults.reset_after,
        faults.hang_before,
        faults.hang_after,
        faults.cut_header,
        faults.cut_body,
        faults.bad_json,
        faults.html_200,
        faults.empty_200,
        faults.error_before,
        faults.error_after_remembered,
        faults.error_after_forgotten,
        faults.cached_500,
        faults.unavailable,
        faults.too_many,
        faults.timeout_408,
        faults.unauthorized,
        faults.page_404,
        faults.redirect,
        faults.in_progress,
        faults.slow_drip,
        faults.garbage,
        faults.bad_gzip,
        faults.odd_shape,
        faults.idle_408,
        faults.stall,
        faults.late,
        answers.odd_json,
        answers.odd_refusal,
        answers.odd_unsettled,
        answers.odd_failure,
        answers.monster,
        answers.monster_failure,
        answers.page_500,
        answers.cut_500,
        answers.packed_failure,
        answers.gateway_failure,
        answers.bad_gateway,
        answers.truncated_json,
        answers.oversize_header,
        answers.many_headers,
        answers.double_length,
        answers.unasked_encoding,
        answers.interim,
        answers.wrong_date,
        answers.double_answer,
        answers.early_answer,
    )
}
FORGETTING: Final = frozenset(
    {
        "error_after_forgotten",
        "page_500",
        "cut_500",
        "odd_failure",
        "monster_failure",
        "packed_failure",
        "gateway_failure",
    }
)
"""They fail after the work and forget the key."""
REFUSING: Final = frozenset({"odd_refusal"})
"""They refuse, and remember nothing."""
WEATHER: Final = ("refuse", "accept_reset", "restart")
"""Faults of connections, not of requests."""
TIME: Final = ("step", "spike", "pause", "reboot")
"""Faults of the client's clocks: a lasting step of the wall clock, wrong single readings of it, a paused machine, and
a journal that is opened again, mostly in another boot."""
KINDS: Final = (*WEATHER, *TIME, *PLAYS)
