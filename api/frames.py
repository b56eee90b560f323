"""What goes out on WebSockets, as whole frames: encoded once, written to any number of clients."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import orjson

from api.schemas import dump, levels_json, number, order_json, timestamp, trade_json
from workers.core.depth import DepthDelta, DepthLevel
from workers.core.records import OrderRecord, TradeRecord

# Levels encoded without a pause: a deep book must not hold up everybody else.
LEVELS_PER_SLICE = 500


def now() -> str:
    """Return the time as the API writes it."""
    return timestamp(time.time_ns() // 1000)


def text_frame(payload: bytes) -> bytes:
    """Return a server's text frame around `payload`: whole and not masked (RFC 6455, 5.2)."""
    length = len(payload)
    if length < 126:
        return b"\x81%c" % length + payload
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def message(type: str, /, **fields: Any) -> bytes:
    """Return the frame of one message."""
    return text_frame(dump({"type": type, **fields, "timestamp": now()}))


def channel_name(kind: str, instrument: str) -> str:
    """Return the public name of a channel."""
    return f"{kind}:{instrument}"


def trade_frames(instrument: str, trades: Iterable[TradeRecord]) -> bytes:
    """Return a message per trade."""
    return _data_frames("trades", instrument, map(trade_json, trades))


def order_frames(instrument: str, orders: Iterable[tuple[int, OrderRecord]]) -> bytes:
    """Return a message per changed order, with the sequence of the change."""
    return _data_frames("orders", instrument, map(changed_order_json, orders))


def changed_order_json(changed: tuple[int, OrderRecord]) -> dict[str, Any]:
    """Return the public form of an order and of the sequence of its last change."""
    sequence, order = changed
    return {**order_json(order), "sequence": sequence}


def delta_frame(instrument: str, delta: DepthDelta) -> bytes:
    """Return the message of a depth delta."""
    data = {
        "snapshot": False,
        "prev_sequence": delta.prev_sequence,
        "sequence": delta.sequence,
        "bids": _changes_json(delta.bids),
        "asks": _changes_json(delta.asks),
    }
    return _data_frames("orderbook", instrument, [data])


async def snapshot_frame(
    instrument: str, sequence: int, bids: list[DepthLevel], asks: list[DepthLevel]
) -> bytes:
    """Return the message of a complete depth, best levels first; encoded with pauses."""
    data = {
        "snapshot": True,
        "sequence": sequence,
        "bids": orjson.Fragment(await _levels(bids)),
        "asks": orjson.Fragment(await _levels(asks)),
    }
    return _data_frames("orderbook", instrument, [data])


def resync_frame(kind: str, instrument: str, timeline: int, data: dict[str, Any]) -> bytes:
    """Return the message that replaces what a client missed by how things are now."""
    return message(
        "resync",
        channel=channel_name(kind, instrument),
        instrument=instrument,
        timeline=timeline,
        data=data,
    )


def _data_frames(kind: str, instrument: str, items: Iterable[dict[str, Any]]) -> bytes:
    # The envelope is the same for all: only the data is encoded for each.
    head = dump({"type": kind, "channel": channel_name(kind, instrument)})[:-1] + b',"data":'
    tail = b',"timestamp":"' + now().encode() + b'"}'
    return b"".join(text_frame(head + dump(item) + tail) for item in items)


def _changes_json(levels: Iterable[DepthLevel]) -> list[dict[str, Any]]:
    return [
        {"price": number(price_ticks), "quantity": number(quantity_lots)}
        for price_ticks, quantity_lots in levels
    ]


async def _levels(levels: list[DepthLevel]) -> bytes:
    pieces = []
    before_lots = 0
    for start in range(0, len(levels), LEVELS_PER_SLICE):
        if start:
            await asyncio.sleep(0)
        piece = levels[start : start + LEVELS_PER_SLICE]
        pieces.append(dump(levels_json(piece, before_lots))[1:-1])
        before_lots += sum(quantity_lots for _, quantity_lots in piece)
    return b"[" + b",".join(pieces) + b"]"
