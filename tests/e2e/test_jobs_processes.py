"""Workers and clocks as processes: whatever is lost, doubled or down, what is due is done once."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from ops.embedded import Postgres, Valkey
from ops.migrate import migrate
from tests.exchange import Client, eventually, free_port
from tests.job_processes import JobProcesses, caught, locked, outcomes, runs

HIDE = "ALTER FUNCTION exchange.make_partitions_v1(integer) RENAME TO hidden"
SHOW = "ALTER FUNCTION exchange.hidden(integer) RENAME TO make_partitions_v1"


@pytest.fixture
def look(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def processes(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[JobProcesses]:
    with JobProcesses(database_url, redis_url, tmp_path) as processes:
        yield processes


def make_due(look: psycopg.Connection, job: str) -> None:
    look.execute(
        "UPDATE exchange.job_due SET due_at = now(), hinted_until = '-infinity' WHERE job = %s",
        (job,),
    )


def metric(port: int, name: str) -> float:
    """Return a sample by its name with labels, 0 when it is not there."""
    with Client(port) as client:
        for line in client.get("/metrics").raw.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
    return 0.0


def test_a_message_per_run_however_many_clocks(
    processes: JobProcesses, look: psycopg.Connection
) -> None:
    processes.only("partitions")
    # So long that no message is told again because a worker on busy processors is late.
    hint_ms = "60000"
    for _ in range(2):
        processes.clock(EXCHANGE_JOB_HINT_MS=hint_ms)
    port = free_port()
    processes.worker(METRICS_PORT=str(port), EXCHANGE_JOB_HINT_MS=hint_ms)
    for count in range(1, 16):
        processes.until_done(look, "partitions", count)
        make_due(look, "partitions")
    processes.until_done(look, "partitions", 16)
    assert set(outcomes(look, "partitions")) == {"done"}
    done = len(outcomes(look, "partitions"))
    eventually(
        lambda: metric(port, 'job_messages_total{queue="jobs",result="processed"}') >= done,
        "every message is counted",
    )
    assert metric(port, 'job_messages_total{queue="jobs",result="processed"}') == done
    assert metric(port, 'job_runs_total{job="partitions",outcome="done"}') == done


def test_a_lost_queue_is_revived(
    processes: JobProcesses, look: psycopg.Connection, redis_url: str
) -> None:
    processes.only("partitions")
    processes.clock()
    eventually(lambda: processes.queued() > 0, "a message")
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    # Only a clock that sends another can have this done.
    processes.worker()
    processes.until_done(look, "partitions")
    # And with a worker there that had scripts and keys in the server.
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.script_flush()
    make_due(look, "partitions")
    processes.until_done(look, "partitions", 2)


def test_servers_come_and_go(server_folder: Path, tmp_path: Path) -> None:
    with Postgres(server_folder) as postgres, Valkey(server_folder) as valkey:
        migrate(postgres.url)
        with JobProcesses(postgres.url, valkey.url, tmp_path) as processes:
            processes.only("partitions")
            clock = processes.clock()
            worker = processes.worker()
            for count, server in enumerate((valkey, postgres, valkey), 1):
                with psycopg.connect(postgres.url, autocommit=True) as look:
                    processes.until_done(look, "partitions", count)
                port, noticed = server.port, processes.said("cannot tell")
                server.kill()
                eventually(
                    lambda: processes.said("cannot tell") > noticed,  # noqa: B023 - here and now
                    "the clock notices",
                )
                server.start(port)
                with psycopg.connect(postgres.url, autocommit=True) as look:
                    make_due(look, "partitions")
                    processes.until_done(look, "partitions", count + 1)
            assert (clock.poll(), worker.poll()) == (None, None)
            valkey.kill()
            for process in (clock, worker):
                process.send_signal(signal.SIGTERM)
            assert [process.wait(12) for process in (clock, worker)] == [0, 0]


def test_a_silent_server_does_not_hold_up_the_end(server_folder: Path, tmp_path: Path) -> None:
    with Postgres(server_folder) as postgres, Valkey(server_folder) as valkey:
        migrate(postgres.url)
        with JobProcesses(postgres.url, valkey.url, tmp_path) as processes:
            processes.only()
            clock = processes.clock()
            with psycopg.connect(postgres.url, autocommit=True) as look:
                ((backend,),) = eventually(
                    lambda: look.execute(
                        "SELECT pid FROM pg_stat_activity WHERE application_name = 'exchange_jobs'"
                    ).fetchall(),
                    "the clock works",
                )
            os.kill(backend, signal.SIGSTOP)
            try:
                clock.send_signal(signal.SIGTERM)
                assert clock.wait(12) in (0, 1)
            finally:
                os.kill(backend, signal.SIGCONT)


def test_a_stop_ends_the_statement_and_the_job_stays_due(
    processes: JobProcesses, look: psycopg.Connection, database_url: str
) -> None:
    processes.only("reconciliation")
    processes.clock()
    with locked(database_url, "positions"):
        worker = processes.worker()
        caught(look, "positions")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
    ((outcome, done, total, detail),) = runs(look, "reconciliation")
    assert outcome == "stopped"
    assert 0 < done < (total or 0)
    assert detail == "the process stops"
    processes.worker()
    processes.until_done(look, "reconciliation")
    assert outcomes(look, "reconciliation") == ["stopped", "done"]


def test_a_clock_and_idle_workers_stop_at_once(processes: JobProcesses) -> None:
    started = [processes.clock(), processes.worker(JOBS_QUEUES="mirror")]
    eventually(lambda: processes.said("working on") == 2, "both work")
    for process in started:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(10) for process in started] == [0, 0]


def test_failures_are_seen_and_tried_again(
    processes: JobProcesses, look: psycopg.Connection
) -> None:
    look.execute(HIDE)
    processes.only("partitions")
    processes.clock()
    processes.worker()
    eventually(lambda: outcomes(look, "partitions") == ["failed"] * 2, "a retry that fails, too")
    assert "function exchange.make_partitions_v1" in runs(look, "partitions")[0][3]
    listed = ops("jobs", DATABASE_URL=processes.url)
    assert "failed" in listed
    look.execute(SHOW)
    processes.until_done(look, "partitions")
    (failures,) = look.execute(
        "SELECT failures FROM exchange.job_due WHERE job = 'partitions'"
    ).fetchone()  # type: ignore[misc]
    assert failures == 0


def test_two_workers_of_which_one_sleeps(
    processes: JobProcesses, look: psycopg.Connection, database_url: str
) -> None:
    """A worker that is stopped in the middle is taken for dead; awake again, it changes nothing."""
    processes.only("reconciliation")
    processes.clock()
    with locked(database_url, "positions"):
        sleeper = processes.worker()
        caught(look, "positions")
        sleeper.send_signal(signal.SIGSTOP)
        eventually(
            lambda: look.execute(
                "SELECT FROM exchange.job_runs WHERE lease_until < now()"
            ).fetchall(),
            "the lease has run out",
        )
    processes.worker()
    processes.until_done(look, "reconciliation")
    sleeper.send_signal(signal.SIGCONT)
    eventually(lambda: processes.said("was taken for lost"), "it notices")
    assert outcomes(look, "reconciliation") == ["lost", "done"]


def test_run_now_and_wait(
    processes: JobProcesses, look: psycopg.Connection, redis_url: str
) -> None:
    processes.only()
    processes.worker()  # and no clock
    environment = {"DATABASE_URL": processes.url, "REDIS_URL": redis_url}
    said = ops("jobs", "run", "reconciliation", "--wait", **environment)
    assert re.fullmatch(
        r"reconciliation is due now\nreconciliation done after [\d.]+ s: (\d+) of \1 hold\n", said
    )
    assert outcomes(look, "reconciliation") == ["done"]
    look.execute(HIDE)
    failed = subprocess.run(
        [sys.executable, "-m", "ops", "jobs", "run", "partitions", "--wait"],
        env=processes.exchange.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert failed.returncode == 1
    assert "partitions failed after" in failed.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "ops", "jobs", "run", "tidying"],
        env=processes.exchange.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert wrong.returncode == 1
    assert wrong.stderr.startswith(
        "Error: there is no job tidying; there are: figures, partitions, reconciliation, "
    )
    assert wrong.stderr.count("\n") == 1


def test_unknown_queues_are_one_line(processes: JobProcesses) -> None:
    wrong = subprocess.run(
        [sys.executable, "-m", "workers.jobs", "--queues", "jobs,mail"],
        env=processes.exchange.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert wrong.stderr == "jobs: JOBS_QUEUES must be of jobs, mirror, not mail\n"


def ops(*arguments: str, **environment: str) -> str:
    """Return what a command prints."""
    environment = {**os.environ, "COLUMNS": "200", **environment}
    command = [sys.executable, "-m", "ops", *arguments]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout
