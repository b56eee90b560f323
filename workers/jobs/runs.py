"""Running jobs: claim, work, finish; and the one thread that looks after all runs of the process.

A message that arrives here is a hint. Whether there is anything to do is for the database to say:
it gives a run to one caller, for as long as its lease is renewed. What a job does is safe to
repeat, so whatever is lost between claim and finish costs a run and nothing else.

A run ends early in three cases: the process stops, its lease has passed to another, its time is up.
Then the next call of its progress raises, and the statement that it waits for, which may take
minutes, is cancelled. Nothing is raised into the middle of its code.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable

import psycopg
from dramatiq.middleware import Interrupt

from workers.adapters.errors import AdapterError
from workers.adapters.failpoints import Failpoints
from workers.adapters.jobs import (
    JobStore,
    Outcome,
    Report,
    RetryPolicy,
    connect_jobs,
    list_instruments,
)
from workers.core.instruments import Instrument
from workers.jobs.errors import Stopped, TimeLimitReached
from workers.jobs.job import Context, Job, Result
from workers.metrics import Metrics
from workers.settings import Settings

logger = logging.getLogger(__name__)

# How often progress is written down and leases are looked after; short leases are sooner.
RENEW_S = 1.0
# A run that goes on says so this often.
SAY_EVERY_S = 10.0
# Runs of each job and subject that are kept, for `python -m ops jobs`.
RUNS_KEPT = 100
# A run whose end cannot be written down is lost, and its job runs again.
FINISH_TRIES = 4
CANCEL_TIMEOUT_S = 2.0
# A server that has fallen silent must not hold up the end of the process.
CLOSE_TIMEOUT_S = 2.0
# Errors may quote whole statements.
DETAIL_LENGTH_MAX = 2_000


class Run:
    """One run under way; it is the job's `progress`."""

    def __init__(self, job: Job, subject: str, run_id: int, lease_ms: int) -> None:
        self.job = job
        self.subject = subject
        self.run_id = run_id
        self.report = Report()
        self.connection: psycopg.Connection | None = None
        self.ends_by: Stopped | TimeLimitReached | None = None
        self.began_at = self.said_at = time.monotonic()
        self.lease_ends_at = self.began_at + lease_ms / 1000

    def __call__(self, done: int, total: int | None, detail: str = "") -> None:
        """Take note of how far it is. Raises Stopped or TimeLimitReached when it has to end."""
        self.report = Report(done, total, detail[:DETAIL_LENGTH_MAX])
        if self.ends_by is not None:
            raise self.ends_by

    def end(self, reason: Stopped | TimeLimitReached) -> None:
        """Let it end: at its next step, or out of the statement it waits for. Safe to repeat."""
        self.ends_by = self.ends_by or reason
        connection = self.connection
        if connection is not None:
            with contextlib.suppress(psycopg.Error):  # it is over, or the server is gone
                connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)

    def __str__(self) -> str:
        return f"{self.job.name} {self.subject}".strip()


class Runner:
    """Runs the jobs of one process. `send(job, subject, delay_ms)` tells workers of more to do."""

    def __init__(
        self,
        settings: Settings,
        jobs: Iterable[Job],
        owner: str,
        metrics: Metrics,
        send: Callable[[str, str, int], None],
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - immutable
        failpoints: Failpoints | None = None,
    ) -> None:
        self._settings = settings
        self._jobs = {job.name: job for job in jobs}
        self._owner = owner
        self._metrics = metrics
        self._send = send
        self._policy = policy
        self._failpoints = failpoints or Failpoints()
        self._runs: set[Run] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        """Start looking after runs."""
        self._keeper.start()

    def stop(self) -> None:
        """Begin no run any more, and let those under way end. Returns at once."""
        self._stopping.set()

    def close(self) -> None:
        """Look after runs no longer."""
        self._closed.set()
        self._keeper.join(CLOSE_TIMEOUT_S)

    def run(self, name: str, subject: str) -> None:
        """Do what a message asks for, if it is due and nobody does it.

        Raises AdapterError when the database cannot be asked; how the job itself ended is in the
        database.
        """
        if self._stopping.is_set():
            return  # it stays due
        job = self._jobs[name]
        lease_ms = self._settings.job_lease_ms
        with contextlib.closing(self._store()) as store:
            run_id = store.claim(name, subject, self._owner, lease_ms)
            if run_id is None:
                logger.debug("%s %s: nothing to do", name, subject)
                return
            run = Run(job, subject, run_id, lease_ms)
            with self._lock:
                self._runs.add(run)
            try:
                outcome, result = self._work(run)
                self._finish(store, run, outcome, result)
            finally:
                with self._lock:
                    self._runs.discard(run)

    def _store(self) -> JobStore:
        return self._failpoints.around("jobs", JobStore(self._settings.database_url))

    def _work(self, run: Run) -> tuple[Outcome, Result]:
        """Let the job do its work; return how that ended. Foresees every error."""
        extra = {"job": run.job.name, "subject": run.subject, "run_id": run.run_id}
        logger.debug("%s: run %d begins", run, run.run_id, extra=extra)
        try:
            with contextlib.closing(connect_jobs(self._settings.database_url)) as connection:
                run.connection = connection
                try:
                    instrument = self._instrument(run)
                    result = run.job.work(
                        Context(connection, self._settings, self._metrics, run, instrument)
                    )
                finally:
                    run.connection = None
            return "done", result
        except (Exception, Interrupt) as error:
            # A statement that was cancelled fails in its own words; the reason is ours.
            reason = run.ends_by or error
            if isinstance(reason, Stopped):
                return "stopped", Result(str(reason))
            if not isinstance(reason, AdapterError | OSError | TimeLimitReached):
                logger.exception("%s: run %d failed", run, run.run_id, extra=extra)
            return "failed", Result(describe(reason))

    def _instrument(self, run: Run) -> Instrument | None:
        if not run.job.per_instrument:
            return None
        assert run.connection is not None
        for instrument in list_instruments(run.connection):
            if instrument.instrument == run.subject:
                return instrument
        raise LookupError(f"there is no instrument {run.subject}")

    def _finish(self, store: JobStore, run: Run, outcome: Outcome, result: Result) -> None:
        seconds = time.monotonic() - run.began_at
        report = run.report._replace(detail=result.detail[:DETAIL_LENGTH_MAX])
        for tries in range(FINISH_TRIES):
            try:
                due_at = store.finish(
                    run.run_id, outcome, report, policy=run.job.retries or self._policy,
                    runs_kept=RUNS_KEPT,
                    again_ms=result.again_ms, hint_ms=self._settings.job_hint_ms,
                )  # fmt: skip
                break
            except AdapterError as error:
                logger.warning("%s: the end of run %d is not stored: %s", run, run.run_id, error)
                time.sleep(min(2.0, 0.2 * 4**tries))
        else:
            return
        if due_at is None:
            logger.warning("%s: run %d was taken for lost", run, run.run_id)
            return
        self._metrics.job_runs(run.job.name, outcome).inc()
        self._metrics.job_run_seconds(run.job.name).observe(seconds)
        logger.log(
            LEVELS[outcome] if result.again_ms is None else logging.DEBUG,
            "%s %s after %.1f s: %s", run, outcome, seconds, report.detail,
            extra={
                "job": run.job.name, "subject": run.subject, "run_id": run.run_id,
                "outcome": outcome, "done": report.done, "total": report.total,
                "due_at": due_at.isoformat(),
            },
        )  # fmt: skip
        if result.again_ms is not None and outcome == "done" and not self._stopping.is_set():
            try:
                self._send(run.job.name, run.subject, result.again_ms)
            except AdapterError as error:  # the clock does it, a little later
                logger.warning("%s: cannot say that there is more to do: %s", run, error)

    def _keep(self) -> None:
        """Renew leases, write progress down, end what has to end."""
        store = self._store()
        interval_s = min(RENEW_S, self._settings.job_lease_ms / 4000)
        while not self._closed.wait(interval_s):
            with self._lock:
                runs = list(self._runs)
            if not runs:
                store.close()
            for run in runs:
                try:
                    self._look_after(store, run)
                except Exception:
                    # Whatever it is, the other runs need their leases.
                    logger.exception("%s: run %d is not looked after", run, run.run_id)
        store.close()

    def _look_after(self, store: JobStore, run: Run) -> None:
        self._renew(store, run)
        if self._stopping.is_set():
            run.end(Stopped("the process stops"))
        elif time.monotonic() - run.began_at > run.job.time_limit_ms / 1000:
            run.end(TimeLimitReached(f"not done in {run.job.time_limit_ms / 1000:g} s"))
        elif run.ends_by is not None:
            run.end(run.ends_by)

    def _renew(self, store: JobStore, run: Run) -> None:
        now = time.monotonic()
        try:
            if store.renew(run.run_id, self._settings.job_lease_ms, run.report):
                run.lease_ends_at = now + self._settings.job_lease_ms / 1000
            elif run in self._runs:  # it may just have ended
                run.end(Stopped("another process has taken it over"))
        except AdapterError as error:
            logger.warning("%s: the lease of run %d is not renewed: %s", run, run.run_id, error)
            if now > run.lease_ends_at:
                run.end(Stopped("its lease has run out"))
        if now - run.said_at > SAY_EVERY_S:
            run.said_at = now
            done, total, detail = run.report
            logger.info(
                "%s: %d of %s, %s", run, done, "?" if total is None else total, detail,
                extra={"job": run.job.name, "subject": run.subject, "run_id": run.run_id},
            )  # fmt: skip


LEVELS = {"done": logging.INFO, "stopped": logging.WARNING, "failed": logging.ERROR}


def describe(error: BaseException) -> str:
    """Return an error in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
