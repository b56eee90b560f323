"""A WebSocket client that keeps what it is told, and complains about every gap."""

import asyncio
import json
import socket
from decimal import Decimal
from typing import Any, Self

import aiohttp


class Follower:
    """Follows channels of one instrument; `book`, `trades` and `orders` are what it knows.

    Written against the public contract alone, with a library that is not the server's.
    """

    def __init__(
        self,
        url: str,
        channels: tuple[str, ...],
        instrument: str = "BTC-USD",
        *,
        receive_buffer: int | None = None,
    ) -> None:
        self.url = url
        self.channels = channels
        self.instrument = instrument
        self.receive_buffer = receive_buffer
        self.sequence = -1
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        # By sequence, and by order_id.
        self.trades: dict[int, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.snapshots = 0
        self.resyncs = 0
        self.problems: list[str] = []
        self.close_code: int | None = None
        self._read_on = asyncio.Event()
        self._read_on.set()

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(socket_factory=self._socket)
        self._session = aiohttp.ClientSession(connector=connector)
        self._ws = await self._session.ws_connect(self.url, max_msg_size=0)
        await self._ws.send_json(
            {
                "type": "subscribe",
                "channels": list(self.channels),
                "instrument": self.instrument,
            }
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._session.close()

    def _socket(self, address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        if self.receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        return made

    def pause(self) -> None:
        """Read nothing more for now."""
        self._read_on.clear()

    def resume(self) -> None:
        """Read on."""
        self._read_on.set()

    async def _read(self) -> None:
        async for message in self._ws:
            self.take(json.loads(message.data, parse_float=Decimal, parse_int=Decimal))
            await self._read_on.wait()
        self.close_code = self._ws.close_code

    def take(self, message: dict[str, Any]) -> None:
        """Take in one message."""
        match message["type"], message.get("data"):
            case "orderbook", data if data["snapshot"]:
                self.snapshots += 1
                self.bids = {level["price"]: level["quantity"] for level in data["bids"]}
                self.asks = {level["price"]: level["quantity"] for level in data["asks"]}
                self.sequence = int(data["sequence"])
            case "orderbook", data:
                if data["prev_sequence"] != self.sequence:
                    self.problems.append(f"{data['prev_sequence']} follows {self.sequence}")
                for side, levels in ((self.bids, data["bids"]), (self.asks, data["asks"])):
                    for level in levels:
                        side[level["price"]] = level["quantity"]
                        if not level["quantity"]:
                            del side[level["price"]]
                self.sequence = int(data["sequence"])
            case "trades", data:
                sequence = int(data["sequence"])
                if sequence <= max(self.trades, default=0):
                    self.problems.append(f"trade {sequence} came twice or late")
                self.trades[sequence] = data
            case "orders", data:
                self.orders[data["order_id"]] = data
            case "resync", data:
                self.resyncs += 1
                for trade in reversed(data.get("trades", ())):
                    self.trades.setdefault(int(trade["sequence"]), trade)
                self.orders |= {order["order_id"]: order for order in data.get("orders", ())}
            case "error", _:
                self.problems.append(str(message))

    @property
    def book(self) -> dict[str, Any]:
        """What `GET /market/orderbook` should show."""
        return {
            "bids": _levels(self.bids, reverse=True),
            "asks": _levels(self.asks, reverse=False),
            "sequence": self.sequence,
        }


def _levels(side: dict[Decimal, Decimal], *, reverse: bool) -> list[dict[str, Decimal]]:
    cumulative = Decimal(0)
    levels = []
    for price in sorted(side, reverse=reverse):
        cumulative += side[price]
        levels.append({"price": price, "quantity": side[price], "cumulative": cumulative})
    return levels
