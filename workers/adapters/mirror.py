"""The mirror's side of PostgreSQL: its lease and its place, and the event log behind that.

For connections without asyncio, which jobs have, in autocommit. Every method raises AdapterError.
"""

from typing import Any, NamedTuple

import psycopg

import sql
from workers.adapters.postgres import translated_sync
from workers.core.instruments import Instrument
from workers.core.messages import Order
from workers.core.mirror import LogEvent, LogTrade

SyncConnection = psycopg.Connection[tuple[Any, ...]]


class Place(NamedTuple):
    """How far an instrument is mirrored, and the epoch under which the mirror is ours.

    `timeline` is that of the database: after a restore the same numbers may be other messages.
    """

    epoch: int
    sequence: int
    trade_no: int
    timeline: int = 1


class Page(NamedTuple):
    """Events that follow each other and end with a command, and their orders as before them."""

    events: list[LogEvent]
    orders: dict[int, Order]


class MirrorLog:
    """One instrument's event log, for one mirror that holds its lease."""

    def __init__(self, connection: SyncConnection, instrument: Instrument, lease_ms: int) -> None:
        self._connection = connection
        self._instrument_id = instrument.instrument_id
        self._lease_ms = lease_ms

    def begin(self, owner: str) -> Place | None:
        """Take the lease with the next epoch; None while another mirror holds it."""
        rows = self._rows("begin_mirror", owner=owner, lease_ms=self._lease_ms)
        if not rows:
            return None
        # None begins while the mirror is ours.
        ((timeline,),) = self._rows("current_timeline")
        return Place(*rows[0])._replace(timeline=timeline)

    def read(self, place: Place, length: int) -> Page:
        """Return about `length` events after `place`, fewer when there are no more."""
        events = [
            LogEvent(
                sequence, kind, order_no, side, type, int(price), int(quantity), time_us, reason,
                None if trade_no is None else LogTrade(
                    trade_no, maker_no, int(maker_fee), int(taker_fee), maker_segment,
                    taker_segment,
                ),
            )
            for (
                sequence, kind, order_no, side, type, price, quantity, time_us, reason,
                trade_no, maker_no, maker_fee, taker_fee, maker_segment, taker_segment,
            ) in self._rows("read_mirror_events", after=place.sequence, limit=length)
        ]  # fmt: skip
        orders: dict[int, Order] = {}
        if events:
            for (
                order_no, order_id, client_id, side, type, price, quantity, filled, value, key,
                created_us,
            ) in self._rows(
                "read_mirror_orders", after=place.sequence, to=events[-1].sequence
            ):  # fmt: skip
                order = Order(
                    order_no, order_id, client_id, side, type, int(price), int(quantity), key,
                    created_us,
                )  # fmt: skip
                order.remaining_lots -= int(filled)
                order.filled_value = int(value)
                order.status = "partially_filled" if filled else "open"
                orders[order_no] = order
        return Page(events, orders)

    def store(self, before: Place, after: Place) -> None:
        """Store that everything up to `after` is in Kafka, and keep the lease.

        Raises Fenced when another mirror has taken over: stop.
        """
        self._rows(
            "store_mirror_offset",
            epoch=before.epoch,
            from_sequence=before.sequence,
            sequence=after.sequence,
            trade_no=after.trade_no,
            lease_ms=self._lease_ms,
        )

    def end(self, place: Place) -> None:
        """Give the lease back."""
        self._rows("end_mirror", epoch=place.epoch)

    def _rows(self, name: str, **values: object) -> list[tuple[Any, ...]]:
        with translated_sync():
            return self._connection.execute(
                sql.query(name), {"instrument_id": self._instrument_id, **values}
            ).fetchall()
