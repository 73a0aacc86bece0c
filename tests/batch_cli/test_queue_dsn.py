"""URLs of a queue and of a journal: PgBouncer's, and those that would show a password."""

from __future__ import annotations

import pytest

from tests.batch_cli.conftest import BUY, Operator, make_purchase_csv
from tests.support.cli import run_bardge
from tests.support.postgres import Database, open_pooler


def test_commands_through_a_pooler(operator: Operator, postgres: Database) -> None:
    """Submit, worker with a rate, and status work through PgBouncer in transaction mode as through the database."""
    if postgres.admin.execute(b"SELECT to_regclass('procrastinate_jobs') IS NOT NULL").fetchone() == (True,):
        postgres.admin.execute(b"TRUNCATE procrastinate_jobs, procrastinate_workers, procrastinate_events CASCADE")
    postgres.clear()
    path = operator.write_file(make_purchase_csv(40)).name
    with open_pooler(postgres.server, stateless=False) as pooler:
        queue = ("--queue", pooler.dsn)
        codes = [
            operator.run_batch_command("submit", path, *BUY, "--job", "j", "--yes", *queue).exit_code,
            operator.run_batch_command("worker", *queue, "--until-done", "--rate", "500").exit_code,
        ]
        counts = operator.run_json("status", "j", *queue)["counts"]
    assert (codes, operator.purchase_count, counts["done"]) == ([0, 0], 40, 40)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bob:a@S3cret@127.0.0.1/shop",
        "postgresql://bob:S3cret/1@127.0.0.1/shop",
        "postgresql://bob:S3cret%zz@127.0.0.1/shop",
        "postgresql+asyncpg://bob:S3cret@127.0.0.1/shop",
        "mysql://bob:S3cret@127.0.0.1/shop",
    ],
)
def test_urls_that_are_refused(operator: Operator, url: str) -> None:
    """A URL that cannot be meant like this is refused with what to write, and the password is not shown."""
    of_queue = operator.run_batch_command("status", "j", "--queue", url)
    of_journal = run_bardge("journal", "list", url)
    assert (of_queue.exit_code, of_journal.exit_code) == (2, 1)
    assert "postgresql://" in of_queue.stderr
    assert "postgresql://" in of_journal.output
    assert "S3cret" not in of_queue.output + of_queue.stderr + of_journal.output
