"""The jobs' side of PostgreSQL: connections, and who runs what when. Jobs are threads."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import Any, Literal, NamedTuple

import psycopg

import sql
from workers.adapters.errors import Unavailable
from workers.adapters.ledger import parse_instrument
from workers.adapters.postgres import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_MS, translated_sync
from workers.core.instruments import Instrument

ROLE = "exchange_jobs"
# Job's own statements may be long, as reconciliation of a large database is. What ends them earlier
# is a stop, which cancels them.
JOB_STATEMENT_TIMEOUT_MS = 4 * 3_600_000

Connection = psycopg.Connection[tuple[Any, ...]]
Outcome = Literal["done", "failed", "stopped"]


def connect_jobs(url: str, statement_timeout_ms: int = JOB_STATEMENT_TIMEOUT_MS) -> Connection:
    """Return a connection in autocommit that works as `exchange_jobs`, where that role exists.

    Raises Unavailable.
    """
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=ROLE,
            # A cut connection must be noticed in seconds, also while we wait for an answer.
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
        )
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false),"
            " set_config('synchronous_commit', 'on', false)",
            (f"{statement_timeout_ms}ms",),
        )
        connection.execute(sql.query("assume_role"), {"role": ROLE})
    except psycopg.Error as error:
        raise Unavailable(f"PostgreSQL: {error}") from error
    return connection


def list_instruments(connection: Connection) -> list[Instrument]:
    """Return every instrument. Raises Unavailable, OutcomeUnknown."""
    with translated_sync():
        rows = connection.execute(sql.query("list_instruments")).fetchall()
    return [parse_instrument(row) for row in rows]


class Period(NamedTuple):
    """When a job runs: so many milliseconds apart, or daily at a time (UTC). One of the two."""

    every_ms: int | None = None
    daily_at: time | None = None


class Registration(NamedTuple):
    """What the database must know of a job."""

    job: str
    per_instrument: bool
    period: Period


class Report(NamedTuple):
    """How far a run is: done of total, which may be unknown, and what it does or has found."""

    done: int = 0
    total: int | None = None
    detail: str = ""


class RetryPolicy(NamedTuple):
    """Retries of a failed job, and the first and the longest delay before one."""

    retries_max: int = 5
    delay_ms: int = 1_000
    delay_max_ms: int = 60_000


class JobStore:
    """What is due and what runs, on one connection that is made when it is needed.

    Every method raises Unavailable, OutcomeUnknown or another AdapterError, and may be repeated.
    Not for several threads at a time.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection; never fails."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def register(self, jobs: Sequence[Registration]) -> int:
        """Make the rows of jobs that have none yet; return how many were made or changed."""
        values = {
            "jobs": [job.job for job in jobs],
            "per_instrument": [job.per_instrument for job in jobs],
            "every_ms": [job.period.every_ms for job in jobs],
            "daily_at": [str(at) if (at := job.period.daily_at) else None for job in jobs],
        }
        return int(self._rows("register_jobs", values)[0][0])

    def hint_due(self, jobs: Sequence[str], hint_ms: int, limit: int) -> list[tuple[str, str]]:
        """Take what is due: (job, subject). Nobody else gets it for `hint_ms`."""
        values = {"jobs": list(jobs), "hint_ms": hint_ms, "limit": limit}
        return [(job, subject) for job, subject in self._rows("hint_due", values)]

    def claim(self, job: str, subject: str, owner: str, lease_ms: int) -> int | None:
        """Begin a run and return its number; None when there is nothing to do."""
        values = {"job": job, "subject": subject, "owner": owner, "lease_ms": lease_ms}
        run_id: int | None = self._rows("claim_run", values)[0][0]
        return run_id

    def renew(self, run_id: int, lease_ms: int, report: Report) -> bool:
        """Renew the lease of a run; False when it is no longer ours."""
        values = {"run_id": run_id, "lease_ms": lease_ms, **report._asdict()}
        return bool(self._rows("renew_run", values)[0][0])

    def finish(
        self,
        run_id: int,
        outcome: Outcome,
        report: Report,
        *,
        policy: RetryPolicy,
        runs_kept: int,
        again_ms: int | None = None,
        hint_ms: int = 0,
    ) -> datetime | None:
        """End a run; return when the job is due next, or None when the run is not ours any more."""
        values = {
            "run_id": run_id, "outcome": outcome, **report._asdict(), **policy._asdict(),
            "again_ms": again_ms, "hint_ms": hint_ms, "runs_kept": runs_kept,
        }  # fmt: skip
        due_at: datetime | None = self._rows("finish_run", values)[0][0]
        return due_at

    def _rows(self, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = connect_jobs(self._url, STATEMENT_TIMEOUT_MS)
        with translated_sync():
            return self._connection.execute(sql.query(name), values).fetchall()
