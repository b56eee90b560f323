"""The same exchange from its image: pip install 'trade-engine[containers]' pytest, and Docker.

docker build -f ops/Dockerfile -t trade-engine .
pytest ops/examples/container
"""

import json
import urllib.request
from collections.abc import Iterator

import pytest

from ops.testing.container import ExchangeContainer


@pytest.fixture(scope="session")
def exchange() -> Iterator[ExchangeContainer]:
    with ExchangeContainer("trade-engine:latest") as container:
        yield container


def test_an_order_rests(exchange: ExchangeContainer) -> None:
    body = {"client_id": "bot", "side": "buy", "type": "limit", "price": 100, "quantity": 1}
    request = urllib.request.Request(
        f"{exchange.url}/orders", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["order"]["status"] == "open"
