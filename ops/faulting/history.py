"""What clients asked for and what they heard: kept by the clients, judged by the checker."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

# pending: asked, nothing heard yet. ok: acknowledged. refused: certainly not applied, said the
# exchange, or it was never sent. unknown: nobody can tell until somebody asks again.
State = Literal["pending", "ok", "refused", "unknown"]


@dataclass(slots=True)
class OrderAsked:
    """One order as its client knows it. Times are seconds of the harness's steady clock."""

    order_id: str  # "" when the server was to make one
    key: str
    client_id: str
    instrument: str
    side: str
    type: str
    price: int | None
    quantity: int
    invoked: float
    completed: float = 0.0
    state: State = "pending"
    # Of the acknowledgement: as it was heard first.
    order_no: int = 0
    acked_id: str = ""
    status: str = ""
    filled: int = 0
    trades: list[tuple[int, int, int]] = field(default_factory=list)  # trade_no, price, quantity
    # It was answered only by asking again.
    resolved: bool = False

    def body(self) -> dict[str, Any]:
        """Return the request, the same every time."""
        body: dict[str, Any] = {
            "client_id": self.client_id, "instrument": self.instrument, "side": self.side,
            "type": self.type, "quantity": self.quantity,
        }  # fmt: skip
        if self.price is not None:
            body["price"] = self.price
        if self.order_id:
            body["order_id"] = self.order_id
        if self.key:
            body["idempotency_key"] = self.key
        return body


@dataclass(slots=True)
class CancelAsked:
    """One cancel; `ok` says that the exchange acknowledged it, `finished` that it came too late."""

    order_id: str
    invoked: float
    completed: float = 0.0
    state: State = "pending"
    finished: bool = False


class History:
    """Everything that the clients of one run asked for."""

    def __init__(self) -> None:
        self.orders: list[OrderAsked] = []
        self.cancels: list[CancelAsked] = []
        # What no client should ever be told.
        self.problems: list[str] = []
        self.repeats = 0

    def counts(self) -> dict[str, int]:
        """Return how many orders are in each state, and how many were unknown once."""
        counts = {"orders": len(self.orders), "acknowledged": 0, "refused": 0, "unknown": 0}
        resolved = 0
        for order in self.orders:
            if order.state == "ok":
                counts["acknowledged"] += 1
            elif order.state == "refused":
                counts["refused"] += 1
            else:
                counts["unknown"] += 1
            resolved += order.resolved
        return counts | {"resolved": resolved}

    def lines(self) -> Iterator[str]:
        """Yield one JSON object per order and cancel."""
        for order in self.orders:
            yield json.dumps({"kind": "order", **asdict(order)})
        for cancel in self.cancels:
            yield json.dumps({"kind": "cancel", **asdict(cancel)})

    def write(self, path: Path) -> None:
        """Write it down, one JSON object a line."""
        path.write_text("\n".join(self.lines()) + "\n")
