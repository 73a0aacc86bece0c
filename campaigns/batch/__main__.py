"""``python -m campaigns.batch``: kill a batch and its server repeatedly; exits with 1 after a wrong charge."""

from __future__ import annotations

import sys

from campaigns.batch.play import play
from campaigns.crash.command import make_parser, print_verdict


def main(arguments: list[str]) -> int:
    """Run the campaign and return the exit code; a control must show double charges."""
    options = make_parser("campaigns.batch", 3000)
    options.add_argument("--restarts", type=int, default=5)
    given = options.parse_args(arguments)
    control = given.control is not None
    report = play(given.kills, given.restarts, given.purchases, given.seed, closed=given.closed, random_key=control)
    return print_verdict(report, given) or int(report.restarts < given.restarts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
