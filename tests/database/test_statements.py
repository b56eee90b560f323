"""Statement files: whole or not there, and the same whoever writes them how often."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import psycopg
import pytest

from tests.exchange import eventually
from tests.job_processes import JobProcesses, outcomes
from workers.adapters.jobs import Connection, connect_jobs
from workers.jobs.errors import Stopped
from workers.jobs.progress import no_progress
from workers.jobs.statements import PAGE_LENGTH, write_statements

# Names that a client may have, and that a folder may have other plans for.
AWKWARD = [".", "..", ".partial", "SHA256SUMS", "-rf", "A", "a", "x:y"]
CLIENTS = [*AWKWARD, *(f"client-{n}" for n in range(PAGE_LENGTH))]

Files = dict[str, bytes]


@pytest.fixture
def day(look: psycopg.Connection) -> date:
    """A settled day on which every client was paid something."""
    for number, client_id in enumerate(CLIENTS, 1):
        look.execute(
            "SELECT exchange.post_entry_v1('deposit', ARRAY[%s], ARRAY['USD'], ARRAY[%s::numeric],"
            " 'me', %s, '')",
            (client_id, f"{number}.00000001", client_id),
        )
    (day,) = look.execute("SELECT (now() AT TIME ZONE 'UTC')::date - 1").fetchone()  # type: ignore[misc]
    look.execute("SELECT exchange.settle_v1(%s, 'me')", (day,))
    return day  # type: ignore[no-any-return]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with closing(connect_jobs(database_url)) as connection:
        yield connection


def files(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_per_client(connection: Connection, day: date, tmp_path: Path) -> None:
    assert write_statements(connection, tmp_path / "out", no_progress) == len(CLIENTS)
    found = files(tmp_path / "out")
    assert found.keys() == {
        f"{day}/{name}" for name in [*(f"{c}.csv" for c in CLIENTS), "SHA256SUMS"]
    }
    assert found[f"{day}/...csv"].decode() == (
        "client_id,day,asset,opening,traded,fees,deposits,withdrawals,adjustments,settlement,"
        f"closing\n..,{day},USD,0,0,0,2.00000001,0,0,0,2.00000001\n"
    )
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=tmp_path / "out" / f"{day}", check=False,
    )  # fmt: skip
    assert checked.returncode == 0
    assert write_statements(connection, tmp_path / "out", no_progress) == 0, "it is complete"


@pytest.mark.parametrize("steps", [0, 1, PAGE_LENGTH, len(CLIENTS) - 1])
def test_stopped_and_run_again(
    connection: Connection, day: date, tmp_path: Path, steps: int
) -> None:
    write_statements(connection, tmp_path / "whole", no_progress)

    def stop(done: int, total: int | None, detail: str = "") -> None:
        assert total == len(CLIENTS)
        if done == steps:
            raise Stopped

    with pytest.raises(Stopped):
        write_statements(connection, tmp_path / "parts", stop)
    assert not (tmp_path / "parts" / f"{day}" / "SHA256SUMS").exists()
    # What a kill in the middle of a write leaves.
    (tmp_path / "parts" / ".partial" / "tmp-of-a-killed-run").write_bytes(b"half of")
    write_statements(connection, tmp_path / "parts", no_progress)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_killed_while_it_writes(
    database_url: str, redis_url: str, connection: Connection, look: psycopg.Connection,
    day: date, tmp_path: Path,
) -> None:  # fmt: skip
    write_statements(connection, tmp_path / "whole", no_progress)
    folder = tmp_path / "killed"
    env = {"EXCHANGE_STATEMENTS_DIR": str(folder)}
    with JobProcesses(database_url, redis_url, tmp_path, **env) as processes:
        processes.only("settlement")
        processes.clock()
        for kills in range(3):
            worker = processes.worker()
            eventually(lambda: len(outcomes(look, "settlement")) > kills, "a run")  # noqa: B023
            eventually(lambda: any(folder.rglob("*.csv")), "a file")
            worker.kill()
            worker.wait()
        if "done" not in outcomes(look, "settlement"):
            processes.worker()
            processes.until_done(look, "settlement")
    assert files(folder) == files(tmp_path / "whole")


def test_a_day_whose_history_is_retired_has_none(
    connection: Connection, look: psycopg.Connection, day: date, tmp_path: Path
) -> None:
    # As if the day had had trades: what it stored is otherwise never changed.
    look.execute("ALTER TABLE exchange.settlement_bounds DISABLE TRIGGER USER")
    look.execute("UPDATE exchange.settlement_bounds SET to_sequence = 9 WHERE instrument_id = 1")
    assert write_statements(connection, tmp_path / "before", no_progress) == len(CLIENTS)
    look.execute(
        "UPDATE exchange.partition_ranges"
        " SET retired_at = now(), last_sequence = 5, last_trade_no = 1"
        " WHERE instrument_id = 1 AND first_sequence = 0"
    )
    assert look.execute(
        "SELECT sequence FROM exchange.kept_after WHERE instrument_id = 1"
    ).fetchall() == [(5,)]
    assert write_statements(connection, tmp_path / "after", no_progress) == 0


def test_a_folder_that_cannot_be_written_is_a_failure_to_be_seen(
    database_url: str, redis_url: str, look: psycopg.Connection, day: date, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file, not a folder")
    env = {"EXCHANGE_STATEMENTS_DIR": str(taken)}
    with JobProcesses(database_url, redis_url, tmp_path, **env) as processes:
        processes.only("settlement")
        processes.clock()
        processes.worker()
        eventually(lambda: "failed" in outcomes(look, "settlement"), "it fails")
        (detail,) = look.execute(
            "SELECT detail FROM exchange.job_runs ORDER BY run_id LIMIT 1"
        ).fetchone()  # type: ignore[misc]
        assert str(taken) in detail
        taken.unlink()
        processes.until_done(look, "settlement")
    assert (taken / f"{day}" / "SHA256SUMS").exists()
