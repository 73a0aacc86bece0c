"""The settings of one run, as a seed draws them."""

from __future__ import annotations

import random
from typing import Any, Final, Literal

import attrs

from bardge_async import ReplayWindow, RetryPolicy, Timeouts
from campaigns.window.ledger import Rules
from campaigns.window.plays import FORGETTING, PLAYS, TIME, WEATHER

Control = Literal["random-key", "no-window", "wall-clock", "no-probe"]
Store = Literal["memory", "sqlite"]
CONTROLS: Final[tuple[Control, ...]] = ("random-key", "no-window", "wall-clock", "no-probe")
_FORGETFUL: Final = ReplayWindow(length=86_400, margin=0)


@attrs.frozen
class Setup:
    """Everything that a seed determines or a test sets."""

    seed: str
    kinds: tuple[str, ...]
    rules: Rules
    timeouts: Timeouts
    policy: RetryPolicy
    window: ReplayWindow
    connections: int
    dates: bool = True
    rate: float = 0.65
    first: int = 1_000_000
    row: str | None = None
    control: Control | None = None
    journal: Store = "memory"

    @property
    def is_weather(self) -> bool:
        """Whether only connections and clocks fail."""
        return set(self.kinds) <= {*WEATHER, *TIME}


def draw(
    seed: str, kinds: tuple[str, ...] | None = None, control: Control | None = None, journal: Store | None = None
) -> Setup:
    """Draw the settings for a seed."""
    rng = random.Random(f"{seed}/setup")
    if control is not None and control != "random-key":
        return _draw_control(seed, rng, control)
    store: Store = journal or ("sqlite" if rng.random() < 0.1 else "memory")
    # The probe takes the server at its word.
    probe = rng.random() < 0.25 and "wrong_date" not in (kinds or ())
    cached = rng.random() < 0.4
    drawn = kinds or (*WEATHER, *_draw_time_kinds(rng, store, probe=probe), *PLAYS)
    if "reboot" in drawn:
        # What was in flight may be cancelled: then the failure that forgets the key is not seen.
        drawn = tuple(kind for kind in drawn if kind not in FORGETTING)
    # A client repeats failures only if the server is known never to forget them.
    trusting = cached and rng.random() < 0.5 and not FORGETTING.issuperset(drawn)
    if trusting:
        drawn = tuple(kind for kind in drawn if kind not in FORGETTING)
    if probe:
        drawn = tuple(kind for kind in drawn if kind != "wrong_date")
    policy = RetryPolicy(
        max_attempts=rng.choice([2, 4, 4, 8, 20]),
        budget_floor=rng.choice([10.0, 100_000.0]),
        repeat_server_errors=trusting,
    )
    return Setup(
        seed=seed,
        kinds=drawn,
        rules=_draw_rules(rng, cached=cached),
        timeouts=Timeouts(total=rng.choice([10.0, 60.0, 60.0, 250.0]), attempt=rng.choice([2.0, 5.0, 20.0])),
        policy=policy,
        window=ReplayWindow(probe=probe),
        connections=rng.choice([2, 5, 100]),
        dates=rng.random() < (0.9 if probe else 0.6),
        control=control,
        journal=store,
    )


def _draw_time_kinds(rng: random.Random, store: Store, *, probe: bool) -> tuple[str, ...]:
    likely = {"step": 0.5, "spike": 0.5, "pause": 0.5 if probe else 0.0, "reboot": 0.5 if store == "sqlite" else 0.0}
    return tuple(kind for kind in TIME if rng.random() < likely[kind])


def _draw_rules(rng: random.Random, *, cached: bool) -> Rules:
    return Rules(rng.random() < 0.5, cached, rng.random() < 0.5, rng.random() < 0.5)


def _draw_control(seed: str, rng: random.Random, control: Control) -> Setup:
    """Draw a run without one of the protections: it must charge twice, since its answers come late or never."""
    kinds: dict[Control, Any] = {"wall-clock": ("step", "hang_after"), "no-probe": ("pause", "hang_after")}
    return Setup(
        seed=seed,
        # Missing responses move the clocks past 90 s.
        kinds=kinds.get(control, ("hang_after",)),
        rules=_draw_rules(rng, cached=False),
        timeouts=Timeouts(total=400.0, attempt=5.0 if control == "wall-clock" else 20.0),
        policy=RetryPolicy(max_attempts=30, budget_floor=100_000.0),
        window=_FORGETFUL if control == "no-window" else ReplayWindow(),
        connections=100,
        dates=False,
        rate=0.85,
        control=control,
    )
