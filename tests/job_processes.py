"""Workers and clocks for tests, and ways to catch a job in the middle of its work."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.exchange import Exchange, eventually
from workers.adapters.jobs import JobStore, Registration
from workers.jobs.broker import Messages, make_broker
from workers.jobs.table import jobs, queue_of
from workers.settings import Settings

# Short, so that tests see in a second what takes a quarter of a minute in earnest.
QUICK = {
    "EXCHANGE_CLOCK_MS": "50", "EXCHANGE_JOB_LEASE_MS": "1000", "EXCHANGE_JOB_HINT_MS": "500",
    "LOG_LEVEL": "debug",
}  # fmt: skip


class JobProcesses:
    """Processes of jobs on given servers, of which only the jobs named in `due` have work."""

    def __init__(self, database_url: str, redis_url: str, folder: Path, **env: str) -> None:
        self.url = database_url
        self.redis_url = redis_url
        self.exchange = Exchange(database_url, redis_url, folder, **QUICK, **env)

    def __enter__(self) -> "JobProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        self.exchange.stop()

    def worker(self, **env: str) -> Any:
        return self.exchange.spawn("workers.jobs", **env)

    def clock(self, **env: str) -> Any:
        return self.exchange.spawn("workers.jobs.clock", **env)

    def only(self, *due: str, subject: str | None = None) -> None:
        """Let these jobs be due now, of one subject or of all, and no other, ever."""
        settings = Settings.from_env(self.exchange.env)
        with closing(JobStore(self.url)) as store:
            store.register(
                [Registration(j.name, j.per_instrument, j.period) for j in jobs(settings)]
            )
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "UPDATE exchange.job_due SET hinted_until = '-infinity',"
                " due_at = CASE WHEN job = ANY (%s) AND subject = coalesce(%s, subject)"
                " THEN now() ELSE '9999-01-01' END",
                (list(due), subject),
            )

    def send(self, job: str, subject: str = "", times: int = 1) -> None:
        """Send messages, whatever is due."""
        broker = make_broker(self.redis_url)
        with closing(broker.client):
            for _ in range(times):
                Messages(broker).send(queue_of(job), job, subject)

    def said(self, text: str) -> int:
        """Return how often the processes have logged it."""
        return sum(path.read_text().count(text) for path in self.exchange.folder.glob("*.log"))

    def queued(self) -> int:
        """Return how many messages wait, are being worked on, or were when a worker was killed."""
        broker = make_broker(self.redis_url)
        with closing(broker.client):
            return sum(int(broker.do_qsize(queue)) for queue in ("jobs", "mirror"))

    def until_done(self, look: psycopg.Connection, job: str, count: int = 1) -> None:
        """Wait for a job's runs that came to their end."""
        eventually(
            lambda: outcomes(look, job).count("done") >= count,
            f"{job} done {count} times: {runs(look, job)}\n{self.exchange.logs()}",
        )


def runs(look: psycopg.Connection, job: str) -> list[tuple[str, int, int | None, str]]:
    """Return the runs of a job, oldest first: outcome, done, total, detail."""
    return look.execute(
        "SELECT outcome, done, total, detail FROM exchange.job_runs WHERE job = %s ORDER BY run_id",
        (job,),
    ).fetchall()


def outcomes(look: psycopg.Connection, job: str) -> list[str]:
    return [run[0] for run in runs(look, job)]


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Hold a table: whoever needs it waits."""
    with psycopg.connect(url) as connection:
        connection.execute(f"LOCK TABLE exchange.{table} IN ACCESS EXCLUSIVE MODE")  # type: ignore[arg-type]
        yield


def caught(look: psycopg.Connection, table: str) -> None:
    """Wait until a job waits for a table that somebody holds."""
    eventually(
        lambda: look.execute(
            "SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE NOT l.granted AND l.relation = %s::regclass"
            " AND a.datname = current_database() AND a.application_name = 'exchange_jobs'",
            (f"exchange.{table}",),
        ).fetchall(),
        f"a job that waits for {table}",
    )


def print_results(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table of what came out; to be read with `pytest -s`."""
    widths = [max(len(str(row[n])) for row in [columns, *rows]) for n in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, ["-" * width for width in widths], *rows]:
        print("  ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True)))
