"""Messages of the public API as Python values, their numbers exact."""

import json
from typing import Any

from workers.core.depth import DepthDelta, DepthLevel, DepthSnapshot
from workers.core.units import parse_units


def parse(text: str | bytes) -> Any:
    """Return a JSON value whose numbers are texts: a float would change some of them."""
    return json.loads(text, parse_float=str, parse_int=str)


def depth(data: dict[str, Any]) -> DepthSnapshot | DepthDelta:
    """Return what an `orderbook` message says of the book."""
    bids, asks = levels(data["bids"]), levels(data["asks"])
    sequence = int(data["sequence"])
    if data["snapshot"]:
        return DepthSnapshot(sequence, bids, asks)
    return DepthDelta(int(data["prev_sequence"]), sequence, bids, asks)


def levels(rows: list[dict[str, str]]) -> list[DepthLevel]:
    """Return levels in ticks and lots."""
    return [(parse_units(row["price"]), parse_units(row["quantity"])) for row in rows]
