"""Every example of the document that the product grew from, run as printed against `./ops/run`.

Only the port differs. `./ops/test -s tests/e2e/test_reference.py` prints the answers next to the
documented ones.
"""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.ops_run import run, until_ready

ORDER = {
    "order_id": "uuid",
    "client_id": "client-A",
    "instrument": "BTC-USD",
    "side": "buy",
    "type": "limit",
    "price": 70150.5,
    "quantity": 0.25,
    "filled_quantity": 0.1,
    "status": "partially_filled",
    "created_at": "2024-01-01T00:00:00.000Z",
    "updated_at": "2024-01-01T00:00:00.000Z",
}
TRADE = {
    "trade_id": "uuid",
    "buy_order_id": "uuid",
    "sell_order_id": "uuid",
    "instrument": "BTC-USD",
    "price": 70150.5,
    "quantity": 0.1,
    "timestamp": "2024-01-01T00:00:00.000Z",
}
LEVEL = {"price": 70150.5, "quantity": 1.25, "cumulative": 1.25}
BOOK = {"bids": [LEVEL], "asks": [LEVEL]}
SUBMITTED = {"order": ORDER, "trades": [TRADE], "orderbook": BOOK}
NOW = "2024-01-01T00:00:00.000Z"

# In this order: the command as printed, the status, and the documented answer.
EXAMPLES: list[tuple[str, int, Any]] = [
    (
        "curl http://localhost:3000/healthz",
        200,
        {
            "status": "healthy",
            "timestamp": NOW,
            "checks": {"postgres": "healthy", "redis": "healthy", "kafka": "healthy"},
        },
    ),
    (
        """curl -X POST http://localhost:3000/orders \\
  -H "Content-Type: application/json" \\
  -d '{
    "idempotency_key": "test-order-1",
    "client_id": "client-A",
    "instrument": "BTC-USD",
    "side": "buy",
    "type": "limit",
    "price": 70000,
    "quantity": 0.25
  }'""",
        201,
        SUBMITTED,
    ),
    (
        """curl -X POST http://localhost:3000/orders \\
  -H "Content-Type: application/json" \\
  -d '{
    "idempotency_key": "test-order-2",
    "client_id": "client-B",
    "instrument": "BTC-USD",
    "side": "sell",
    "type": "market",
    "quantity": 0.1
  }'""",
        201,
        SUBMITTED,
    ),
    (
        """curl -X POST http://localhost:3000/orders -H "Content-Type: application/json" -d '{
  "idempotency_key": "abc-123",
  "order_id": "order-1",
  "client_id": "client-A",
  "instrument": "BTC-USD",
  "side": "buy",
  "type": "limit",
  "price": 70150.5,
  "quantity": 0.25
}'""",
        201,
        SUBMITTED,
    ),
    ("curl http://localhost:3000/orders/order-1", 200, {"order": ORDER}),
    (
        'curl "http://localhost:3000/market/orderbook?instrument=BTC-USD&levels=10"',
        200,
        {"instrument": "BTC-USD", **BOOK, "timestamp": NOW},
    ),
    (
        "curl http://localhost:3000/market/trades?limit=50",
        200,
        {"instrument": "BTC-USD", "trades": [TRADE], "count": 50},
    ),
    (
        "curl http://localhost:3000/market/analytics",
        200,
        {
            "instrument": "BTC-USD",
            "start_time": NOW,
            "end_time": NOW,
            "interval_minutes": 1,
            "aggregates": [
                {
                    "time_bucket": NOW,
                    "trade_count": 10,
                    "total_quantity": 5.5,
                    "avg_price": 70500,
                    "min_price": 70000,
                    "max_price": 71000,
                    "total_volume": 387750,
                    "vwap": 70500,
                }
            ],
            "overall_vwap": 70500,
        },
    ),
    (
        "curl http://localhost:3000/market/positions/client-A",
        200,
        {
            "client_id": "client-A",
            "positions": [
                {
                    "instrument": "BTC-USD",
                    "net_quantity": 1.5,
                    "total_cost": 105750,
                    "avg_price": 70500,
                    "last_updated": NOW,
                }
            ],
        },
    ),
    (
        "curl -X POST http://localhost:3000/market/orderbook/snapshot",
        201,
        {"instrument": "BTC-USD", "snapshot": BOOK, "timestamp": NOW},
    ),
    (
        "curl -X POST http://localhost:3000/orders/order-1/cancel",
        200,
        {"order": {"order_id": "uuid", "status": "cancelled"}},
    ),
]

METRICS = (
    "orders_received_total", "orders_matched_total", "orders_rejected_total",
    "order_latency_seconds", "current_orderbook_depth", "trades_total", "trade_volume_total",
)  # fmt: skip

SUBSCRIBE = """{
  "type": "subscribe",
  "channels": ["trades", "orders", "orderbook"],
  "instrument": "BTC-USD"
}"""
# JSON with the key `type` twice.
WEBSOCKET_ORDER = """{
  "type": "order",
  "client_id": "client-A",
  "instrument": "BTC-USD",
  "side": "buy",
  "type": "limit",
  "price": 70000,
  "quantity": 1.0,
  "idempotency_key": "ws-order-1"
}"""
UNSUBSCRIBE = """{
  "type": "unsubscribe",
  "channels": ["trades"],
  "instrument": "BTC-USD"
}"""


# Of each type of message that the document names: what it must have.
HEARD: dict[str, Any] = {
    "connected": {"client_id": "uuid"},
    "subscribed": {"channels": ["trades"], "instrument": "BTC-USD"},
    "unsubscribed": {"channels": ["trades"], "instrument": "BTC-USD"},
    "trades": {"data": TRADE},
    "orders": {"data": ORDER},
    "orderbook": {"data": {}},
    "order_accepted": SUBMITTED,
    "error": {"error": "code", "message": "what happened"},
}


@pytest.fixture
def address() -> Iterator[str]:
    """Host and port of a new `./ops/run`."""
    with run("--ephemeral", "--port", "0") as process:
        yield urlsplit(until_ready(process)).netloc
        process.terminate()
        process.wait(30)


def missing(documented: Any, answer: Any, path: str = "") -> list[str]:
    """Return where `answer` lacks what is documented, or has another kind of value there."""
    if isinstance(documented, dict):
        if not isinstance(answer, dict):
            return [path]
        return [
            problem
            for name, value in documented.items()
            for problem in (
                missing(value, answer[name], f"{path}.{name}")
                if name in answer
                else [f"{path}.{name}"]
            )
        ]
    if isinstance(documented, list):
        if not isinstance(answer, list):
            return [path]
        return [problem for item in answer for problem in missing(documented[0], item, f"{path}[]")]
    # A market order has no price, and a book may have an empty side: null stands for nothing.
    number = (int, float)
    same = isinstance(answer, number) if isinstance(documented, number) else type(answer) is str
    return [] if same or answer is None else [path]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_http_examples(address: str) -> None:
    for command, status, documented in EXAMPLES:
        here = command.replace("localhost:3000", address)
        shell = here.replace("curl ", "curl --silent --write-out '\\n%{http_code}' ", 1)
        said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
        body, _, code = said.stdout.rpartition("\n")
        answer = json.loads(body)
        print(f"\n$ {command}\n    answer {code} {body}\ndocumented {json.dumps(documented)}")
        assert int(code) == status, body
        assert missing(documented, answer) == [], command
        if "/market/" in command:  # something has traded, so there is something to show
            assert [] not in (answer.get(name) for name in ("trades", "aggregates", "positions"))
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    for name in METRICS:
        print(*(line for line in text.splitlines() if line.startswith(f"# HELP {name}")))
    assert [name for name in METRICS if f"\n{name}" not in text] == []


async def test_websocket_examples(address: str) -> None:
    url = f"ws://{address}/stream"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:

        async def hear(*types: str) -> dict[str, Any]:
            while True:
                text = await ws.receive_str(timeout=10)
                message = json.loads(text)
                documented = HEARD[message["type"]]
                print(f"    answer {text}\ndocumented {json.dumps(documented)}")
                assert missing(documented, message) == []
                if message["type"] in types:
                    return message

        async def say(text: str) -> None:
            print(f"\n> {text}")
            await ws.send_str(text)

        connected = await hear("connected")
        assert connected["client_id"]
        for text, answer in ((SUBSCRIBE, "subscribed"), (UNSUBSCRIBE, "unsubscribed")):
            await say(text)
            assert (await hear(answer))["instrument"] == "BTC-USD"
        await say(SUBSCRIBE)
        await hear("subscribed")
        await say(WEBSOCKET_ORDER)
        accepted = await hear("order_accepted")
        assert accepted["order"]["idempotency_key"] == "ws-order-1"
        # The message types of the reference: a new trade, a changed order, a changed book.
        await say(WEBSOCKET_ORDER.replace("buy", "sell").replace("ws-order-1", "ws-2"))
        heard = [await hear("trades", "orders", "orderbook") for _ in range(4)]
        assert {message["type"] for message in heard} == {"trades", "orders", "orderbook"}
        await say('{"type": "order"}')
        assert (await hear("error"))["message"]
