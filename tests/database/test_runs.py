"""Runs in one process: what ends them, and what is written down about it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest

from tests.exchange import eventually
from tests.job_processes import outcomes, runs
from workers.adapters.errors import OutcomeUnknown
from workers.adapters.jobs import JobStore, Period, Registration, RetryPolicy
from workers.jobs.job import Context, Job, Result
from workers.jobs.runs import Runner
from workers.metrics import Metrics
from workers.settings import Settings

Work = Callable[[Context], Result]
POLICY = RetryPolicy(retries_max=0)


class Harness:
    """A runner of one job, `work`, without messages."""

    def __init__(self, url: str, **settings: int) -> None:
        self.settings = Settings(url, "redis://unused", job_lease_ms=1_000, **settings)  # type: ignore[arg-type]
        self.sent: list[tuple[str, str, int]] = []
        self.runner: Runner | None = None

    def start(self, work: Work, *, per_instrument: bool = False, limit_ms: int = 60_000) -> Runner:
        job = Job("job", "jobs", Period(every_ms=60_000), work, per_instrument, limit_ms)
        with closing(JobStore(self.settings.database_url)) as store:
            store.register([Registration(job.name, per_instrument, job.period)])
        self.runner = Runner(self.settings, [job], "me", Metrics(), self.send, POLICY)
        self.runner.start()
        return self.runner

    def send(self, job: str, subject: str, delay_ms: int) -> None:
        self.sent.append((job, subject, delay_ms))


@pytest.fixture
def harness(database_url: str) -> Iterator[Harness]:
    harness = Harness(database_url)
    yield harness
    if harness.runner is not None:
        harness.runner.stop()
        harness.runner.close()


def sleep(context: Context) -> Result:
    """Be in one statement for ever."""
    context.progress(1, 2, "asleep")
    context.connection.execute("SELECT pg_sleep(1000)")
    return Result("awake")


def test_done_with_its_progress(harness: Harness, look: psycopg.Connection) -> None:
    told = threading.Event()

    def work(context: Context) -> Result:
        context.progress(3, 7, "three")
        assert told.wait(30)
        return Result("all")

    runner = harness.start(work)
    thread = threading.Thread(target=runner.run, args=("job", ""))
    thread.start()
    eventually(lambda: runs(look, "job") == [("running", 3, 7, "three")], "progress is seen")
    told.set()
    thread.join()
    assert runs(look, "job") == [("done", 3, 7, "all")]
    assert harness.sent == []


def test_each_instrument_has_its_own(harness: Harness, look: psycopg.Connection) -> None:
    def work(context: Context) -> Result:
        assert context.instrument is not None
        return Result(context.instrument.base_asset)

    runner = harness.start(work, per_instrument=True)
    for subject in ("BTC-USD", "ETH-USD", "XXX-USD"):
        runner.run("job", subject)
    assert [run[3] for run in runs(look, "job")] == ["BTC", "ETH"]


def test_a_leases_is_renewed_while_a_statement_takes_long(
    harness: Harness, look: psycopg.Connection
) -> None:
    def work(context: Context) -> Result:
        context.connection.execute("SELECT pg_sleep(3)")  # three leases long
        return Result()

    harness.start(work).run("job", "")
    assert outcomes(look, "job") == ["done"]


def test_the_time_limit(harness: Harness, look: psycopg.Connection) -> None:
    harness.start(sleep, limit_ms=500).run("job", "")
    assert runs(look, "job") == [("failed", 1, 2, "TimeLimitReached: not done in 0.5 s")]


def test_a_run_that_another_took_over_ends(harness: Harness, look: psycopg.Connection) -> None:
    runner = harness.start(sleep)
    thread = threading.Thread(target=runner.run, args=("job", ""))
    thread.start()
    eventually(lambda: outcomes(look, "job") == ["running"], "it runs")
    look.execute("UPDATE exchange.job_runs SET outcome = 'lost', finished_at = now()")
    thread.join(30)
    assert not thread.is_alive()
    assert outcomes(look, "job") == ["lost"]


def test_stopped(harness: Harness, look: psycopg.Connection) -> None:
    runner = harness.start(sleep)
    thread = threading.Thread(target=runner.run, args=("job", ""))
    thread.start()
    eventually(lambda: outcomes(look, "job") == ["running"], "it runs")
    runner.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert runs(look, "job") == [("stopped", 1, 2, "the process stops")]
    runner.run("job", "")
    assert len(runs(look, "job")) == 1, "it begins no other"


def test_failed(harness: Harness, look: psycopg.Connection) -> None:
    def work(context: Context) -> Result:
        raise ValueError("no\n  good")

    harness.start(work).run("job", "")
    assert runs(look, "job") == [("failed", 0, None, "ValueError: no good")]


def test_more_to_do(harness: Harness, look: psycopg.Connection) -> None:
    runner = harness.start(lambda context: Result("a slice", again_ms=0))
    for _ in range(3):
        runner.run("job", "")
    assert outcomes(look, "job") == ["done"] * 3
    assert harness.sent == [("job", "", 0)] * 3


def test_a_chain_whose_message_is_lost_is_revived(
    harness: Harness, look: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(job: str, subject: str, delay_ms: int) -> None:
        raise OutcomeUnknown("Redis is down")

    monkeypatch.setattr(harness, "send", lose)
    harness.start(lambda context: Result("a slice", again_ms=0)).run("job", "")
    assert outcomes(look, "job") == ["done"]
    with closing(JobStore(harness.settings.database_url)) as store:
        assert store.hint_due(["job"], 1_000, 10) == []
        look.execute("UPDATE exchange.job_due SET hinted_until = now()")
        assert store.hint_due(["job"], 1_000, 10) == [("job", "")]
