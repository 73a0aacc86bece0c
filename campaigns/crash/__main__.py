"""``python -m campaigns.crash``: kill a buying process again and again; 1 when anything was charged twice, lost or wrong."""

from __future__ import annotations

import sys

from campaigns.crash.command import parser, verdict
from campaigns.crash.play import play


def main(arguments: list[str]) -> int:
    """Play; a control must show double charges."""
    given = parser("campaigns.crash", 400).parse_args(arguments)
    report = play(given.kills, given.purchases, given.seed, closed=given.closed, random_key=given.control is not None)
    return verdict(report, given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
