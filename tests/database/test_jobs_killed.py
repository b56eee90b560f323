"""Each job killed at three points of its work, and its message delivered twice: same result."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from ops.verify import broken_invariants
from tests.exchange import eventually
from tests.job_processes import JobProcesses, caught, locked, outcomes, print_results, runs
from tests.kafka import distinct, mock_cluster, read_topic
from tests.matcher import ONE, Matcher, limit
from workers.jobs.mirror_messages import EVENTS

# (job, what it is doing when it is killed, the table that it waits for then)
POINTS = [
    ("settlement", "before it settles anything", "settlement_runs"),
    ("settlement", "all posted, nothing committed", "closing_balances"),
    ("settlement", "settled, no statement written", "assets"),
    ("reconciliation", "at its first invariant", "postings"),
    ("reconciliation", "in the middle", "positions"),
    ("reconciliation", "at its last invariants", "shard"),
    ("partitions", "before it makes anything", "house_book"),
    ("partitions", "tables made, none attached", "ledger_entries_i0"),
    ("partitions", "one of two attached, nothing committed", "postings_i0"),
    ("snapshot", "before it reads anything", "shard"),
    ("snapshot", "as it writes, nothing committed", "engine_snapshot_parts"),
    ("snapshot", "stored, old ones still there", "partition_ranges"),
    ("mirror", "before it has its lease", "mirror_offsets"),
    ("mirror", "before it reads events", "order_events"),
    ("mirror", "events read, nothing written", "orders"),
]

RESULTS: list[tuple[Any, ...]] = []


@pytest.fixture(scope="module", autouse=True)
def print_table() -> Iterator[None]:
    yield
    columns = ("job", "killed", "runs", "messages", "effects", "invariants")
    print_results("Jobs killed at three points, and delivered twice", columns, RESULTS)


async def trade(matcher: Matcher, day: date, seed: int) -> None:
    """Commit trades of a day between eight clients."""
    random = Random(seed)
    batch = await matcher.apply(
        *(
            limit(
                random.choice(("buy", "sell")), (100 + random.randint(-2, 2)) * ONE,
                random.randint(1, 3) * ONE // 3, client_id=f"c{random.randrange(8)}",
            )
            for _ in range(60)
        )
    )  # fmt: skip
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    batch.time_us = int(noon.timestamp()) * 1_000_000
    await matcher.commit(batch)


def one(look: psycopg.Connection, query: str) -> Any:
    row = look.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def settled(look: psycopg.Connection, folder: Path) -> str:
    """Check what settlement has done; say so."""
    today = one(look, "SELECT (now() AT TIME ZONE 'UTC')::date")
    days = [day for (day,) in look.execute("SELECT day FROM exchange.settlement_runs ORDER BY day")]
    assert days == [today - timedelta(n) for n in (3, 2, 1)]
    files = check_statements(look, folder, days)
    return f"3 days settled once each, {files} statements"


def check_statements(look: psycopg.Connection, folder: Path, days: list[date]) -> int:
    """Every day's files are those of its clients, and say what analytics.statement says."""
    count = 0
    assert {path.name for path in folder.iterdir()} == {".partial", *map(str, days)}
    assert list((folder / ".partial").iterdir()) == []
    for day in days:
        clients = [
            client_id
            for (client_id,) in look.execute(
                "SELECT DISTINCT client_id FROM exchange.closing_balances"
                " JOIN exchange.clients USING (client_no) WHERE day = %s AND client_no > 0",
                (day,),
            )
        ]
        names = {path.name for path in (folder / f"{day}").iterdir()}
        assert names == {"SHA256SUMS", *(f"{client_id}.csv" for client_id in clients)}
        sums = dict(
            reversed(line.split("  "))
            for line in (folder / f"{day}" / "SHA256SUMS").read_text().splitlines()
        )
        for client_id in clients:
            body = (folder / f"{day}" / f"{client_id}.csv").read_bytes()
            assert hashlib.sha256(body).hexdigest() == sums[f"{client_id}.csv"]
            rows = look.execute(
                "SELECT * FROM analytics.statement(%s, %s)", (client_id, day)
            ).fetchall()
            lines = [
                ",".join([client_id, str(day), asset, *(f"{amount:f}" for amount in amounts)])
                for asset, *amounts in rows
            ]
            assert body.decode().splitlines()[1:] == lines
            count += 1
    return count


def reconciled(look: psycopg.Connection, folder: Path) -> str:
    detail = [run for run in runs(look, "reconciliation") if run[0] == "done"][-1]
    assert detail[1] == detail[2], "all of it"
    assert "VIOLATED" not in detail[3]
    return detail[3].split(";")[0]


def partitioned(look: psycopg.Connection, folder: Path) -> str:
    ranges = one(look, "SELECT count(*) FROM exchange.partition_ranges WHERE instrument_id = 0")
    tables = one(
        look,
        "SELECT count(*) FROM pg_inherits WHERE inhparent IN"
        " ('exchange.ledger_entries_i0'::regclass, 'exchange.postings_i0'::regclass)",
    )
    assert tables == 2 * ranges == 4
    return f"{ranges} ranges, {tables} partitions attached"


def snapped(look: psycopg.Connection, folder: Path) -> str:
    at = one(look, "SELECT sequence FROM exchange.shard WHERE instrument_id = 1")
    engines = look.execute("SELECT instrument_id, sequence FROM exchange.engine_snapshots")
    books = look.execute("SELECT instrument_id, sequence FROM exchange.book_snapshots")
    assert engines.fetchall() == books.fetchall() == [(1, at)]
    return "1 engine snapshot, 1 book snapshot"


def mirrored(look: psycopg.Connection, folder: Path) -> str:
    at = one(look, "SELECT sequence FROM exchange.shard WHERE instrument_id = 1")
    eventually(
        lambda: look.execute(
            "SELECT FROM exchange.mirror_offsets WHERE instrument_id = 1 AND sequence = %s", (at,)
        ).fetchall(),
        "all of it is mirrored",
    )
    records = read_topic((folder / "brokers").read_text(), EVENTS)
    kept = distinct(records)
    assert [record.sequence for record in kept] == sorted(record.sequence for record in kept)
    assert kept[-1].sequence == at
    return f"{len(kept)} order events in Kafka, {len(records) - len(kept)} of them repeated"


SUBJECTS = {"snapshot": "BTC-USD", "mirror": "BTC-USD"}
EFFECTS: dict[str, Callable[[psycopg.Connection, Path], str]] = {
    "settlement": settled, "reconciliation": reconciled, "partitions": partitioned,
    "snapshot": snapped, "mirror": mirrored,
}  # fmt: skip


@pytest.mark.parametrize(("job", "doing", "table"), POINTS)
async def test_killed_and_delivered_twice(
    job: str, doing: str, table: str, matcher: Matcher, look: psycopg.Connection,
    database_url: str, redis_url: str, tmp_path: Path,
) -> None:  # fmt: skip
    today = one(look, "SELECT (now() AT TIME ZONE 'UTC')::date")
    for number in (3, 2, 1):
        await trade(matcher, today - timedelta(number), number)
    folder = tmp_path / "out"
    env = {"EXCHANGE_STATEMENTS_DIR": str(folder)}
    subject = SUBJECTS.get(job, "")
    with contextlib.ExitStack() as stack:
        if job == "mirror":
            env["KAFKA_BROKERS"] = stack.enter_context(mock_cluster())
            folder.mkdir()
            (folder / "brokers").write_text(env["KAFKA_BROKERS"])
        processes = stack.enter_context(JobProcesses(database_url, redis_url, tmp_path, **env))
        processes.only(job, subject=subject)
        processes.clock()
        with locked(database_url, table):
            worker = processes.worker()
            caught(look, table)
            worker.kill()
            worker.wait()
            taken_along = processes.queued()
            processes.send(job, subject, times=2)
        # What its server still did for the dead one may go on while another does it again.
        processes.worker()
        processes.until_done(look, job)
        processes.send(job, subject, times=2)
        if job != "mirror":  # which goes on and on
            eventually(lambda: processes.queued() <= taken_along, "every message is worked on")
        effects = EFFECTS[job](look, folder)
        ended = outcomes(look, job)
        assert ended[:2] == ["lost", "done"]
        assert set(ended[2:]) <= ({"done", "running"} if job == "mirror" else set())
    broken = broken_invariants(look)
    assert broken == {}
    RESULTS.append((job, doing, ", ".join(ended[:2]), "2 + 2 extra", effects, "all hold"))
