"""The messages of the Kafka mirror; mirror.schema.json says the same to their readers.

Four topics. Every message has the instrument as its key, and as headers, in decimal digits:
`number`, gapless from 1 per topic and instrument: a reader drops what is not above its last number,
and has a gap when one is missing; `sequence`, the event that it is of; `epoch`, of the mirror that
wrote it; `schema_version`; and `timeline`, which rises when the database was restored: from its
first message on, under whatever number, it replaces what was told before. A message that comes
again on its timeline is the same but for its epoch.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from workers.adapters.kafka import Message
from workers.adapters.mirror import Place
from workers.adapters.public_json import (
    number,
    order_json,
    timestamp,
    trade_json,
    value_number,
)
from workers.core.instruments import Instrument
from workers.core.mirror import Step
from workers.core.records import OrderRecord, TradeRecord

EVENTS: Final = "exchange-order-events"
ORDERS: Final = "exchange-orders"
TRADES: Final = "exchange-trades"
UPDATES: Final = "exchange-orderbook-updates"
TOPICS: Final = (EVENTS, ORDERS, TRADES, UPDATES)

SCHEMA_VERSION: Final = 1


def encode(instrument: Instrument, place: Place, steps: Iterable[Step]) -> Iterator[Message]:
    """Yield the messages that tell of `steps`, in order, for the mirror that stands at `place`."""
    key = instrument.instrument.encode()
    epoch_text, timeline_text = b"%d" % place.epoch, b"%d" % place.timeline
    version_text = b"%d" % SCHEMA_VERSION
    for step in steps:
        sequence_text = b"%d" % step.event.sequence
        for topic, topic_number, value in _values(instrument, step):
            yield Message(
                topic,
                key,
                orjson.dumps(value),
                [
                    ("number", b"%d" % topic_number),
                    ("sequence", sequence_text),
                    ("epoch", epoch_text),
                    ("schema_version", version_text),
                    ("timeline", timeline_text),
                ],
            )


def _values(instrument: Instrument, step: Step) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield topic, number and value of each message of one event."""
    event = step.event
    sequence = event.sequence
    stamp = {"timestamp": timestamp(event.time_us), "time_us": event.time_us}
    value = _event_json(instrument, step) | stamp
    yield EVENTS, sequence, value
    if event.trade is not None:
        yield TRADES, step.trade_no, _trade_json(instrument, step) | stamp
    # A trade changes two orders, any other event one.
    first = sequence + step.trade_no + 1 - len(step.orders)
    for order_number, order in enumerate(step.orders, first):
        yield ORDERS, order_number, _order_json(order) | {"sequence": sequence}
    yield UPDATES, sequence, _update_json(instrument.instrument, step) | stamp


def _event_json(instrument: Instrument, step: Step) -> dict[str, Any]:
    event, order = step.event, step.orders[-1]
    value: dict[str, Any] = {
        "instrument": instrument.instrument,
        "sequence": event.sequence,
        "kind": event.kind,
        "last_of_command": step.last,
        "base_asset": instrument.base_asset,
        "quote_asset": instrument.quote_asset,
        "tick_size": number(instrument.tick_size_ticks),
        "lot_size": number(instrument.lot_size_lots),
    }
    if event.trade is not None:
        return value | _trade_json(instrument, step)
    return value | {
        "order_id": order.order_id,
        "order_no": order.order_no,
        "client_id": order.client_id,
        "side": order.side,
        "type": order.type,
        "price": number(order.price_ticks) if order.price_ticks else None,
        # Of the order; of what was cancelled, when it is that.
        "quantity": number(event.quantity_lots),
        "reason": event.reason or None,
        "idempotency_key": order.idempotency_key or None,
    }


def _trade_json(instrument: Instrument, step: Step) -> dict[str, Any]:
    event, (maker, taker) = step.event, step.orders
    trade = event.trade
    assert trade is not None
    buyer, seller = (taker, maker) if taker.side == "buy" else (maker, taker)
    record = TradeRecord(
        trade.trade_no,
        event.sequence,
        instrument.instrument,
        event.price_ticks,
        event.quantity_lots,
        buyer.order_id,
        seller.order_id,
        taker.side,
        event.time_us,
    )
    return trade_json(record) | {
        "maker_order_no": maker.order_no,
        "taker_order_no": taker.order_no,
        "maker_client_id": maker.client_id,
        "taker_client_id": taker.client_id,
        "fee_asset": instrument.quote_asset,
        "maker_fee": value_number(trade.maker_fee),
        "taker_fee": value_number(trade.taker_fee),
        "maker_segment": trade.maker_segment,
        "taker_segment": trade.taker_segment,
    }


def _order_json(order: OrderRecord) -> dict[str, Any]:
    return order_json(order) | {
        "filled_value": value_number(order.filled_value),
        "created_us": order.created_us,
        "updated_us": order.updated_us,
    }


def _update_json(instrument: str, step: Step) -> dict[str, Any]:
    return {
        "instrument": instrument,
        "sequence": step.event.sequence,
        "last_of_command": step.last,
        "changes": [
            {
                "order_no": change.order.order_no,
                "order_id": change.order.order_id,
                "side": change.order.side,
                "price": number(change.order.price_ticks),
                "remaining_quantity": number(change.remaining_lots),
            }
            for change in step.changes
        ],
    }
