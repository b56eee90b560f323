"""A market maker in a few lines."""

import json
import urllib.request
from typing import Any


class Bot:
    """Quotes both sides of a price."""

    def __init__(self, url: str, client_id: str) -> None:
        self.url = url
        self.client_id = client_id

    def quote(self, price: float, spread: float, quantity: float) -> list[dict[str, Any]]:
        """Place a buy order below a price and a sell order above it; return the orders."""
        return [
            self.order("buy", price - spread, quantity),
            self.order("sell", price + spread, quantity),
        ]

    def order(self, side: str, price: float, quantity: float) -> dict[str, Any]:
        """Place a limit order; return it."""
        body = {
            "client_id": self.client_id, "instrument": "ETH-USD", "side": side, "type": "limit",
            "price": price, "quantity": quantity,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{self.url}/orders", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer)["order"])
