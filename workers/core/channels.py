"""Names of everything the processes meet at in Redis.

Keys of one instrument share a hash tag, so Redis Cluster keeps them together on one node.
"""

from typing import Literal

# What all rate limits share, so that one script may check several.
RATE_TAG = "{limits}"


def order_stream(instrument: str) -> str:
    """Stream of commands for one instrument."""
    return f"orders:{{{instrument}}}"


def depth_key(instrument: str) -> str:
    """Hash: `epoch` and `sequence` of the published depth of one instrument."""
    return f"depth:{{{instrument}}}"


def bids_key(instrument: str) -> str:
    """Hash: price_ticks -> quantity_lots of every bid level."""
    return f"depth:{{{instrument}}}:bids"


def asks_key(instrument: str) -> str:
    """Hash: price_ticks -> quantity_lots of every ask level."""
    return f"depth:{{{instrument}}}:asks"


def state_key(instrument: str) -> str:
    """Hash: `sequence` and `state_hash` of an engine that stood still, as its matcher saw it."""
    return f"state:{{{instrument}}}"


def depth_channel(instrument: str) -> str:
    """Pub/sub channel of depth deltas."""
    return f"depth.{{{instrument}}}"


def changes_channel(instrument: str) -> str:
    """Pub/sub channel of trades and changed orders."""
    return f"changes.{{{instrument}}}"


def first_order_key(instrument: str, client_id: str, idempotency_key: str) -> str:
    """String: the order_id that was last sent under this idempotency key. A hint that expires.

    Identifiers cannot hold a slash, so no two pairs share a name.
    """
    return f"first:{{{instrument}}}/{client_id}/{idempotency_key}"


def rate_key(kind: Literal["ip", "client"], name: str) -> str:
    """String: the time at which this one's allowance is whole again."""
    return f"rate:{RATE_TAG}:{kind}:{name}"


def reply_channel(edge_id: str) -> str:
    """Pub/sub channel on which one edge process gets the answers to its commands."""
    return f"replies.{edge_id}"


def reply_channel_at(channel: str, instrument: str) -> str:
    """Reply channel of an edge process, where a cluster keeps the keys of an instrument."""
    return f"{channel}.{{{instrument}}}"


def matcher_group(epoch: int) -> str:
    """Consumer group of one epoch. Each epoch has its own: a zombie takes nothing away."""
    return f"matcher-{epoch}"
