"""``python -m campaigns.batch``: kill a batch and its server again and again; 1 when anything was charged wrongly."""

from __future__ import annotations

import sys

from campaigns.batch.play import play
from campaigns.crash.command import parser, verdict


def main(arguments: list[str]) -> int:
    """Play; a control must show double charges."""
    options = parser("campaigns.batch", 3000)
    options.add_argument("--restarts", type=int, default=5)
    given = options.parse_args(arguments)
    control = given.control is not None
    report = play(given.kills, given.restarts, given.purchases, given.seed, closed=given.closed, random_key=control)
    return verdict(report, given) or int(report.restarts < given.restarts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
