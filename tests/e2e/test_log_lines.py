"""Log lines of real processes: each a JSON object, and a request can be followed through them."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.exchange import Exchange, eventually, running


def lines(exchange: Exchange, module: str) -> list[dict[str, Any]]:
    """Return what a program logged; each of its lines must be a JSON object."""
    return [
        json.loads(line)
        for path in exchange.folder.glob(f"{module}-*.log")
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def test_a_request_can_be_followed(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with running(database_url, redis_url, tmp_path, LOG_LEVEL="debug") as exchange:
        with exchange.client() as client:
            headers = {"X-Request-ID": "00A-Try.7"}
            body = {"client_id": "a", "side": "buy", "type": "limit", "price": 1, "quantity": 1}
            given = client.post("/orders", body | {"order_id": "mine"}, headers)
            assert given.status == 201
            made = client.post("/orders?token=hunter2", body).json["order"]["order_id"]
            client.get("/orders/mine?token=hunter2")
            refused = client.post("/orders", b"{}", {"X-Request-ID": "0042"})
            assert refused.json["request_id"] == "0042"

        def requests() -> list[dict[str, Any]]:
            return [
                line
                for line in lines(exchange, "api")
                if line["logger"] == "api.observe" and line["path"].startswith("/orders")
            ]

        eventually(lambda: len(requests()) == 4, "a line for each request")
        first, second, third, fourth = requests()
        assert first["duration_ms"] > 0
        assert {
            name: first[name] for name in first if name not in ("time", "pid", "duration_ms")
        } == {
            "level": "debug",
            "logger": "api.observe",
            "message": "POST /orders answered 201",
            "role": "web",
            "method": "POST",
            "path": "/orders",
            "status": 201,
            "request_id": "00A-Try.7",
            "order_id": "mine",
            "client_address": "127.0.0.1",
        }
        assert second["order_id"] == made
        assert third["order_id"] == "mine"
        assert (fourth["status"], fourth["request_id"]) == (400, "0042")

        def about(order_id: str) -> list[tuple[Any, ...]]:
            return [
                (line["instrument"], line["epoch"], line["status"], line["sequence"])
                for line in lines(exchange, "workers.matching")
                if line.get("order_id") == order_id
            ]

        eventually(lambda: about(made), "the matcher's line")
        assert about("mine") == [("BTC-USD", 1, "open", 1)]
        assert about(made) == [("BTC-USD", 1, "open", 2)]

    said = lines(exchange, "workers.matching")
    (taken,) = [x for x in said if x["message"] == "lease taken" and x["instrument"] == "BTC-USD"]
    assert (taken["level"], taken["epoch"], taken["role"]) == ("info", 1, "matcher")
    messages = [line["message"] for line in said if line.get("instrument") == "BTC-USD"]
    assert messages[0] == "lease taken"
    assert messages[1] == "recovering from the resting orders: there is no snapshot"
    assert messages[2].startswith("trading, epoch 1, ")
    assert messages[-1] == "stopped, lease released"
    web = [line["message"] for line in lines(exchange, "api") if line["level"] == "info"]
    assert "ready" in web
    assert "stopping" in web
    everything = exchange.logs()
    assert "hunter2" not in everything
    password = urlsplit(database_url).password
    assert not password or f":{password}@" not in everything


def ready(exchange: Exchange) -> set[int]:
    """Return the web processes that have started."""
    said = lines(exchange, "api")
    return {line["pid"] for line in said if line["message"].startswith("Worker ready")}


def test_orders_leave_no_lines_at_the_usual_level(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running(database_url, redis_url, tmp_path, WEB_CONCURRENCY="2") as exchange:
        eventually(lambda: len(ready(exchange)) == 2, "both processes behind the port log alike")
        before = len(lines(exchange, "workers.matching"))
        with exchange.client() as client:
            for _ in range(20):
                assert client.order("buy", 1, 1).status == 201
        assert len(lines(exchange, "workers.matching")) == before
        said = lines(exchange, "api")
        assert not [line for line in said if line["logger"] == "api.observe"]
        assert {line["role"] for line in said} == {"web"}
