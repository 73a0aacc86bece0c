"""``python -m campaigns.crash``: kill a buying process repeatedly; exits with 1 if anything was charged wrongly."""

from __future__ import annotations

import sys

from campaigns.crash.command import make_parser, print_verdict
from campaigns.crash.play import play


def main(arguments: list[str]) -> int:
    """Run the campaign and return the exit code; a control must show double charges."""
    given = make_parser("campaigns.crash", 400).parse_args(arguments)
    report = play(given.kills, given.purchases, given.seed, closed=given.closed, random_key=given.control is not None)
    return print_verdict(report, given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
