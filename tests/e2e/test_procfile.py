"""The Procfile, as a platform runs it: honcho, servers of somebody else, the smallest plans."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.exchange import Client, eventually, free_port

ROOT = Path(__file__).parents[2]
APP_JSON = json.loads((ROOT / "app.json").read_text())
DEPLOY = (ROOT / "ops" / "docs" / "DEPLOY.md").read_text(encoding="utf-8")
INSTRUMENTS = 3
# What `app.json` asks a platform to run.
FORMATION = [name for name, row in APP_JSON["formation"].items() if row["quantity"]]


@pytest.fixture
def honcho() -> str:
    found = shutil.which("honcho", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("honcho is not here: pip install -e '.[deploy]'")
    return found


def test_the_formation_trades_within_the_connections_of_a_small_plan(
    honcho: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    given = {name: row["value"] for name, row in APP_JSON["env"].items() if "value" in row}
    environment = {
        **os.environ,
        **given,
        "EXCHANGE_ENV": "production",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "HOST": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with (tmp_path / "honcho.log").open("w+") as log:
        process = subprocess.Popen(
            # One process of each kind: honcho would give each the next hundred of ports.
            [honcho, "start", "--port", str(port), *FORMATION],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            eventually(lambda: ready(port), "ready", 60)
            with Client(port) as client:
                assert client.order("sell", 1, 100).status == 201
                bought = client.order("buy", 1, client_id="client-B").json
                assert bought["order"]["status"] == "filled"
                assert client.get("/market/analytics").status == 200
            eventually(lambda: runs(database_url) > 0, "a job was run", 60)
            # Each process at its most: more than DEPLOY.md says would not fit a plan of 20.
            assert 5 <= connections(database_url) <= documented()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        log.seek(0)
        said = log.read()
    assert "Traceback" not in said, said
    eventually(lambda: connections(database_url) == 0, "all connections are closed")


def ready(port: int) -> bool:
    try:
        with Client(port, 2.0) as client:
            return client.get("/readyz").status == 200
    except OSError:
        return False


def runs(url: str) -> int:
    with psycopg.connect(url) as look:
        ((count,),) = look.execute(
            "SELECT count(*) FROM exchange.job_runs WHERE outcome = 'done'"
        ).fetchall()
        return int(count)


def connections(url: str) -> int:
    """Return how many connections others have to a database."""
    with psycopg.connect(url) as look:
        ((count,),) = look.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        ).fetchall()
        return int(count)


def documented() -> int:
    """Return the sum of DEPLOY.md's table for the formation: its last column, by `app.json`."""
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (?:\d+; )?(\d+)", DEPLOY, re.MULTILINE))
    assert set(FORMATION) <= set(rows)
    return sum(int(rows[name]) for name in FORMATION)
