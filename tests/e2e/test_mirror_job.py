"""The mirror as a job: workers and clocks that die, and a Kafka that is away."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.exchange import eventually
from tests.history import make_history
from tests.job_processes import JobProcesses, outcomes
from tests.kafka import distinct, mock_cluster, read_topic
from workers.jobs.mirror_messages import EVENTS

BEHIND = "SELECT coalesce(sum(events), 0) FROM exchange.mirror_lags_v1()"


@pytest.fixture
def look(database_url: str) -> Iterator[psycopg.Connection]:
    make_history(database_url, seed=51, commands=600)
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def behind(look: psycopg.Connection) -> int:
    ((events,),) = look.execute(BEHIND).fetchall()
    return int(events)


def test_every_instrument_is_mirrored_whatever_dies(
    look: psycopg.Connection, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with (
        mock_cluster() as brokers,
        JobProcesses(database_url, redis_url, tmp_path, KAFKA_BROKERS=brokers) as processes,
    ):
        assert behind(look) > 500
        processes.only("mirror", "reconciliation")
        processes.clock()
        doomed = processes.worker()
        eventually(lambda: behind(look) == 0, "mirrored")
        doomed.kill()
        # From the beginning again, by another: what the dead one held is free when its leases end.
        look.execute("UPDATE exchange.mirror_offsets SET sequence = 0, trade_no = 0")
        processes.worker()
        eventually(lambda: behind(look) == 0, "mirrored again")
        assert "done" in outcomes(look, "mirror")
        for instrument in ("BTC-USD", "ETH-USD"):
            ((sequence,),) = look.execute(
                "SELECT sequence FROM exchange.mirror_lags_v1() WHERE instrument = %s",
                (instrument,),
            ).fetchall()
            records = read_topic(brokers, EVENTS)
            assert len(distinct(records, instrument)) == sequence
        look.execute(
            "UPDATE exchange.job_due SET due_at = now(), hinted_until = '-infinity'"
            " WHERE job = 'reconciliation'"
        )

        def reconciled() -> bool:
            return (
                look.execute(
                    "SELECT FROM exchange.job_runs WHERE job = 'reconciliation'"
                    " AND outcome = 'done' AND detail NOT LIKE '%mirrored_messages%'"
                ).rowcount
                > 0
            )

        eventually(reconciled, "reconciled, Kafka included")


def test_without_kafka_the_job_fails_and_is_tried_again(
    look: psycopg.Connection, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with JobProcesses(
        database_url, redis_url, tmp_path, KAFKA_BROKERS="127.0.0.1:1", JOBS_QUEUES="mirror"
    ) as processes:
        processes.only("mirror")
        processes.clock()
        processes.worker()
        eventually(lambda: outcomes(look, "mirror").count("failed") >= 4, "tried again and again")
        ((detail,),) = look.execute(
            "SELECT detail FROM exchange.job_runs WHERE outcome = 'failed' LIMIT 1"
        ).fetchall()
        assert "Kafka" in detail
        assert behind(look) > 500
