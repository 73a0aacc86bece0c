"""Nothing is charged twice, and each call's outcome agrees with the server's ledger, whatever goes wrong."""

from __future__ import annotations

import logging

import attrs
import pytest

from bardge_async import ReplayWindow, RetryPolicy, Timeouts
from campaigns.window.__main__ import EACH, main
from campaigns.window.ledger import Rules
from campaigns.window.plays import KINDS, PLAYS, TIME
from campaigns.window.setup import CONTROLS, Control, Setup, draw
from campaigns.window.virtual import run
from campaigns.window.world import Report, World, campaign, serving

SEEDS = range(1, 11)
PATIENT = Setup(
    seed="patient",
    kinds=(),
    rules=Rules(),
    timeouts=Timeouts(total=60, attempt=10),
    policy=RetryPolicy(),
    window=ReplayWindow(),
    connections=5,
    rate=1.0,
    first=1,
    row="purchase",
)

# The outcome of a purchase whose first request meets a fault and whose others go well.
ENDS = {
    "done": """
        reset_before reset_after hang_before hang_after cut_header cut_body bad_json html_200 empty_200 odd_json
        bad_gateway too_many timeout_408 redirect in_progress slow_drip garbage bad_gzip oversize_header double_answer
        idle_408 stall late truncated_json many_headers double_length unasked_encoding interim wrong_date early_answer
    """,
    "OutcomeUnknownError": """
        error_before error_after_remembered error_after_forgotten cached_500 page_500 cut_500 odd_failure
        monster_failure packed_failure gateway_failure
    """,
    "DecodeError": "odd_shape",
}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Silence the log: this campaign produces doubts constantly, with a warning for each."""
    caplog.set_level(logging.CRITICAL, "bardge_async")


def format_faults(report: Report) -> str:
    return "\n".join(report.faults[:3])


@pytest.mark.parametrize("seed", SEEDS)
def test_mixed_faults(seed: int) -> None:
    """500 faults of all kinds charge nothing twice, and every outcome agrees with the ledger."""
    report = run(campaign(draw(str(seed)), EACH))
    assert (report.doubles, format_faults(report)) == (0, "")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(TIME)))
def test_each_kind_alone(kind: str) -> None:
    """A fault kind that hits nearly every request charges nothing twice, and every outcome agrees with the ledger."""
    setup = attrs.evolve(draw(f"alone {kind}", (kind,), journal="memory"), rate=0.9, first=3)
    report = run(campaign(setup, 40))
    assert (report.played[kind] >= 40, report.doubles, format_faults(report)) == (True, 0, "")


@pytest.mark.parametrize("kind", TIME)
def test_clocks_alone(kind: str) -> None:
    """A kind of clock trouble, among answers that get lost, charges nothing twice."""
    setup = attrs.evolve(
        draw(f"alone {kind}", (kind, "hang_after", "reset_after"), journal="sqlite" if kind == "reboot" else "memory"),
        window=ReplayWindow(probe=kind == "pause"),
        dates=True,
    )
    report = run(campaign(setup, 250))
    assert (report.played[kind] > 0, report.doubles, format_faults(report)) == (True, 0, "")


def list_expected() -> list[tuple[str, str]]:
    return [(kind, end) for end, kinds in ENDS.items() for kind in kinds.split()]


@pytest.mark.parametrize(("kind", "end"), list_expected())
def test_first_request_meets(kind: str, end: str) -> None:
    """A single fault does not prevent a purchase, unless the server's own response rules out a retry."""

    async def read_first_answer() -> str:
        async with serving(attrs.evolve(PATIENT, kinds=(kind,))) as server:
            world = World(attrs.evolve(PATIENT, kinds=(kind,)), server)
            return await world.one()

    assert run(read_first_answer()) == end


def test_every_kind_is_known() -> None:
    """The table names all kinds except those that refuse, that end in several ways, or whose Retry-After is too long."""
    assert set(PLAYS) - {kind for kind, _ in list_expected()} == {
        *("unauthorized", "page_404", "unavailable"),
        *("odd_refusal", "odd_unsettled", "monster"),
    }


def test_late_requests_are_counted_apart() -> None:
    """Only a request that starts after its key expired can charge twice, and the ledger shows which ones did."""
    report = run(campaign(attrs.evolve(draw("late", ("late",)), first=1, rate=1.0), 60))
    assert (report.doubles, report.late_doubles > 0, format_faults(report)) == (0, True, "")


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_are_charged_twice(control: Control) -> None:
    """A client without its key, its window, a boot-time clock, or the probe is charged twice: the campaign detects it."""
    assert sum(run(campaign(draw(seed, control=control), EACH)).doubles for seed in "12") > 0


def test_same_seed_same_run() -> None:
    """A run can be reproduced by its seed."""
    assert run(campaign(draw("5"), 200)) == run(campaign(draw("5"), 200))


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--control", "random-key"], 0)])
def test_command(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints how many faults were played and succeeds when every check passes."""
    assert main(["--faults", "100", "--seed", "1", *arguments]) == code
    assert " faults in " in capsys.readouterr().out
