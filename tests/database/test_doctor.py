"""`python -m ops doctor`: silent about a healthy exchange, and each fault found with its remedy."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from ops.__main__ import main
from ops.checkup import machine
from ops.checkup.finding import Finding, judge_clock
from ops.doctor import examine
from ops.embedded import Postgres, postgres
from tests import servers
from tests.exchange import free_port
from tests.history import make_history
from tests.kafka import mock_cluster
from workers.core.channels import depth_key, order_stream

Env = dict[str, str]


@pytest.fixture
def env(database_url: str, redis_url: str) -> Env:
    """The environment of an exchange whose matcher holds every instrument."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE exchange.shard SET owner = 'somebody', epoch = 1,"
            " lease_until = now() + interval '1 hour'"
        )
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": str(free_port())}


def found(env: Env, level: str = "problem") -> dict[str, Finding]:
    findings = {finding.check: finding for finding in examine(env, {}) if finding.level == level}
    assert level == "ok" or all(finding.remedy for finding in findings.values())
    return findings


@contextmanager
def redis_setting(url: str, name: str, value: str) -> Iterator[None]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        before = client.config_get(name)[name]
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, before)


def test_a_healthy_exchange(env: Env) -> None:
    fine = found(env, "ok")
    assert found(env) == {}
    assert {"python", "settings", "port", "servers", "postgres", "postgres fsync"} <= set(fine)
    assert {"postgres migrations", "postgres clock", "redis", "redis maxmemory-policy"} <= set(fine)
    assert fine["BTC-USD lease"].found == "epoch 1, held by somebody"
    assert fine["BTC-USD stream"].found == "nothing waits"


def test_no_matcher(env: Env) -> None:
    with psycopg.connect(env["DATABASE_URL"]) as connection:
        connection.execute("UPDATE exchange.shard SET lease_until = now() - interval '1 s'")
    assert "python -m workers.matching" in found(env)["BTC-USD lease"].remedy


def test_entries_that_nobody_takes(env: Env) -> None:
    with redis.Redis.from_url(env["REDIS_URL"]) as client:
        client.xadd(order_stream("BTC-USD"), {"x": "1"}, id="1-1")
        client.xadd(order_stream("BTC-USD"), {"x": "2"}, id="1-2")
    assert found(env)["BTC-USD stream"].found.startswith("2 entries wait, the oldest for ")
    # What PostgreSQL has committed does not wait, whatever Redis still holds.
    with psycopg.connect(env["DATABASE_URL"]) as connection:
        connection.execute("UPDATE exchange.shard SET last_stream_id = '1-2'")
    assert found(env) == {}


def test_dead_letters(env: Env) -> None:
    with psycopg.connect(env["DATABASE_URL"]) as connection:
        connection.execute(
            "INSERT INTO exchange.dead_letters (instrument_id, stream_id, payload, error)"
            " SELECT instrument_id, '1-1', 'x', 'not understood' FROM exchange.instruments"
            " WHERE instrument = 'BTC-USD'"
        )
    assert found(env, "warning")["BTC-USD dead letters"].found == "1"


def test_a_policy_that_throws_orders_away(env: Env) -> None:
    with redis_setting(env["REDIS_URL"], "maxmemory-policy", "allkeys-lru"):
        finding = found(env)["redis maxmemory-policy"]
    assert finding.found == "allkeys-lru"
    assert "CONFIG SET maxmemory-policy noeviction" in finding.remedy


def test_no_append_only_file(env: Env) -> None:
    with redis_setting(env["REDIS_URL"], "appendonly", "no"):
        assert "appendonly yes" in found(env, "warning")["redis appendonly"].remedy


def test_commits_that_are_not_on_disk(env: Env) -> None:
    name = env["DATABASE_URL"].rpartition("/")[2]
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")  # type: ignore[arg-type]
    assert found(env).keys() == {"postgres synchronous_commit"}


def test_a_server_without_fsync_and_without_migrations(
    server_folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres.SETTINGS, "fsync", "off")
    with Postgres(server_folder) as server:
        env = {"DATABASE_URL": server.url, "REDIS_URL": redis_url, "PORT": str(free_port())}
        problems = found(env)
    assert problems.keys() == {"postgres fsync", "postgres migrations"}
    assert "ALTER SYSTEM SET fsync = on" in problems["postgres fsync"].remedy
    assert problems["postgres migrations"].remedy == "run `python -m ops migrate`"


def test_too_few_connections(env: Env) -> None:
    finding = found(env | {"WEB_CONCURRENCY": "200"}, "warning")["postgres connections"]
    assert "EXCHANGE_DATABASE_CONNECTIONS_MAX" in finding.remedy


def test_servers_that_do_not_answer(env: Env) -> None:
    closed = free_port()
    problems = found(env | {"DATABASE_URL": f"postgresql://127.0.0.1:{closed}/x"})
    assert problems.keys() == {"postgres"}
    problems = found(env | {"REDIS_URL": f"redis://127.0.0.1:{closed}"})
    assert problems.keys() == {"redis"}
    problems = found(env | {"DATABASE_READ_URL": f"postgresql://127.0.0.1:{closed}/x"})
    assert problems.keys() == {"postgres replica"}


def test_somebody_else_on_the_port(env: Env) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = str(listener.getsockname()[1])
        assert "set PORT" in found(env | {"PORT": taken})["port"].remedy


def test_settings_that_cannot_be_used(env: Env) -> None:
    assert "EXCHANGE_LEASE_MS" in found(env | {"EXCHANGE_LEASE_MS": "soon"})["settings"].found


def test_nothing_given_and_nothing_runs() -> None:
    port = str(free_port())
    assert "./ops/run" in found({"PORT": port})["servers"].remedy
    problem = found({"PORT": port, "EXCHANGE_ENV": "production"})["servers"]
    assert problem.found == "DATABASE_URL and REDIS_URL not set"


def test_other_packages_than_were_tested(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("sanic==1.0\nredis==0.1\n")
    finding = machine.check_packages(constraints)
    assert finding.level == "warning"
    assert "sanic" in finding.found
    assert machine.check_packages().level == "ok"


@pytest.mark.parametrize(
    ("before", "theirs", "after", "level"),
    [
        (10_000, 10_001, 10_002, "ok"),
        (10_000, 9_000, 10_002, "ok"),
        (10_000, 8_999, 10_002, "warning"),
        (10_000, 11_003, 10_002, "warning"),
    ],
)
def test_clocks(before: int, theirs: int, after: int, level: str) -> None:
    assert judge_clock("clock", before, theirs, after).level == level


def test_the_command(
    env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in list(os.environ):
        if name.startswith(("EXCHANGE_", "DATABASE_", "REDIS_")) or name in ("HOST", "PORT"):
            monkeypatch.delenv(name)
    for name, value in {**env, "EXCHANGE_DATA": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"] is True
    assert {"check", "level", "found", "remedy"} == set(document["findings"][0])
    monkeypatch.setenv("DATABASE_URL", servers.other_database(env["DATABASE_URL"], "nowhere"))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "PROBLEM  postgres" in said
    assert "-> start the server, or correct DATABASE_URL" in said
    assert "1 problems" in said


def test_kafka_and_its_mirror(env: Env) -> None:
    with mock_cluster() as brokers:
        fine = found(env | {"KAFKA_BROKERS": brokers}, "ok")
        assert fine["kafka"].found == "3 brokers"
        assert fine["kafka topics"].found == "all there"
        assert fine["BTC-USD mirror"].found == "0 events behind, the oldest of them 0 s old"
        prefixed = env | {"KAFKA_BROKERS": brokers, "KAFKA_TOPIC_PREFIX": "other-"}
        assert "other-exchange-trades" in found(prefixed, "warning")["kafka topics"].found
    assert found(env, "ok")["kafka"].found.startswith("off")
    nobody = env | {"KAFKA_BROKERS": f"127.0.0.1:{free_port()}"}
    # Trading goes on without it.
    assert found(nobody) == {}
    assert "KAFKA_BROKERS" in found(nobody, "warning")["kafka"].remedy


def test_a_mirror_that_does_not_run(env: Env) -> None:
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("UPDATE exchange.shard SET owner = NULL")
        make_history(env["DATABASE_URL"], seed=5, commands=200)
    with mock_cluster() as brokers:
        warnings = found(env | {"KAFKA_BROKERS": brokers}, "warning")
    assert "events behind" in warnings["BTC-USD mirror"].found
    assert "`clock`" in warnings["BTC-USD mirror"].remedy


def test_a_redis_that_has_seen_more(env: Env) -> None:
    with redis.Redis.from_url(env["REDIS_URL"]) as client:
        client.hset(depth_key("BTC-USD"), "epoch", 9)
    assert "ops restored" in found(env, "warning")["BTC-USD epoch"].remedy


def test_a_database_of_a_newer_version(env: Env) -> None:
    with psycopg.connect(env["DATABASE_URL"]) as connection:
        connection.execute("UPDATE exchange.alembic_version SET version_num = '9999'")
    assert found(env) == {}
    assert "9999" in found(env, "warning")["postgres migrations"].found
