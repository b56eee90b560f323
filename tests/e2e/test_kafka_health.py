"""Kafka in /healthz and /metrics: its death makes the exchange degraded, and nothing else."""

import socket
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.exchange import Client, eventually, free_port, running
from tests.kafka import mock_cluster, publisher
from tests.matcher import BTC_USD
from workers.jobs.mirror import mirror_slice


def metric(client: Client, name: str) -> float:
    lines = client.get("/metrics").raw.decode().splitlines()
    (value,) = [line.split()[-1] for line in lines if line.startswith(name)]
    return float(value)


def test_kafka_comes_and_goes(database_url: str, redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    with (
        running(database_url, redis_url, tmp_path, KAFKA_BROKERS=f"127.0.0.1:{port}") as exchange,
        exchange.client() as client,
        psycopg.connect(database_url, autocommit=True) as jobs,
    ):

        def health() -> Any:
            answer = client.get("/healthz")
            assert answer.status == 200
            return answer.json

        assert health()["status"] == "degraded"
        assert health()["checks"] == {
            "postgres": "healthy", "redis": "healthy", "kafka": "unhealthy",
        }  # fmt: skip
        assert metric(client, 'dependency_up{dependency="kafka"}') == 0
        with socket.create_server(("127.0.0.1", port), backlog=4096):
            assert health()["status"] == "healthy"
            lag = {"instrument": "BTC-USD", "lag_events": 0, "lag_seconds": 0}
            assert health()["mirror"][0] == lag
            assert metric(client, 'dependency_up{dependency="kafka"}') == 1
            assert client.order("buy", 1, 100).status == 201
            eventually(lambda: health()["mirror"][0]["lag_seconds"] > 0, "it lags")
            assert health()["mirror"][0]["lag_events"] == 1
            assert metric(client, 'mirror_lag_events{instrument="BTC-USD"}') == 1
            assert metric(client, 'mirror_lag_seconds{instrument="BTC-USD"}') > 0
            # Nobody mirrors: a broker that is there does not make it healthy.
            eventually(lambda: health()["status"] == "degraded", "the mirror is too late")
            with mock_cluster() as brokers, publisher(brokers) as kafka:
                mirror_slice(jobs, kafka, BTC_USD)
            assert health()["status"] == "healthy"
        assert health()["status"] == "degraded"
        assert client.order("buy", 1, 100).status == 201
        assert client.get("/readyz").status == 200


def test_kafka_that_is_not_set_is_disabled(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_BROKERS", raising=False)
    with running(database_url, redis_url, tmp_path) as exchange, exchange.client() as client:
        answer = client.get("/healthz").json
        assert answer["status"] == "healthy"
        assert answer["checks"]["kafka"] == "disabled"
        assert "mirror" not in answer
        assert b"mirror_lag" not in client.get("/metrics").raw
