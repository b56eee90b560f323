"""A matching engine that is obviously right: one plain list, sorted again for every order.

It shares nothing with the engine under test but the messages. It is slow, and it is the judge.
"""

from hashlib import blake2b

from workers.core.messages import (
    CancelOrder,
    CancelRefused,
    Command,
    Event,
    Order,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    Side,
    SubmitOrder,
    Trade,
)


class NaiveBook:
    """One instrument's resting orders, in no particular order, and its counters."""

    def __init__(self) -> None:
        self.sequence = 0
        self.order_no = 0
        self.trade_no = 0
        self.orders: list[Order] = []

    def apply(self, command: Command) -> list[Event]:
        """Apply one command and return its events."""
        if isinstance(command, CancelOrder):
            return self._cancel(command)
        return self._submit(command)

    def _submit(self, command: SubmitOrder) -> list[Event]:
        self.order_no += 1
        order = Order(
            order_no=self.order_no,
            order_id=command.order_id,
            client_id=command.client_id,
            side=command.side,
            type=command.type,
            price_ticks=command.price_ticks,
            quantity_lots=command.quantity_lots,
            idempotency_key=command.idempotency_key,
            created_us=command.time_us,
        )
        others = self.queue("sell" if command.side == "buy" else "buy")
        if command.deadline_us < command.time_us:
            return [self._reject(order, "expired")]
        if command.type == "market" and not others:
            return [self._reject(order, "no_liquidity")]

        events: list[Event] = [OrderAccepted(self._next(), command.time_us, order)]
        for maker in others:
            if order.remaining_lots == 0 or not _crosses(order, maker):
                break
            events.append(self._trade(maker, order, command.time_us))
        self.orders = [other for other in self.orders if other.remaining_lots > 0]
        if order.remaining_lots > 0 and order.type == "limit":
            self.orders.append(order)
        if order.remaining_lots > 0 and order.type == "market":
            events.append(self._close(order, "no_liquidity", command.time_us))
        return events

    def _trade(self, maker: Order, taker: Order, time_us: int) -> Trade:
        quantity_lots = min(maker.remaining_lots, taker.remaining_lots)
        for order in (maker, taker):
            order.remaining_lots = order.remaining_lots - quantity_lots
            order.filled_value = order.filled_value + quantity_lots * maker.price_ticks
            order.status = "filled" if order.remaining_lots == 0 else "partially_filled"
            order.updated_us = time_us
        self.trade_no += 1
        return Trade(
            sequence=self._next(),
            time_us=time_us,
            trade_no=self.trade_no,
            maker=maker,
            taker=taker,
            price_ticks=maker.price_ticks,
            quantity_lots=quantity_lots,
        )

    def _cancel(self, command: CancelOrder) -> list[Event]:
        found = [order for order in self.orders if order.order_id == command.order_id]
        if found == [] or command.deadline_us < command.time_us:
            return [CancelRefused(command.order_id)]
        self.orders = [order for order in self.orders if order is not found[0]]
        return [self._close(found[0], "client_request", command.time_us)]

    def _close(self, order: Order, reason: str, time_us: int) -> OrderCancelled:
        order.status = "cancelled"
        order.status_reason = reason
        order.updated_us = time_us
        return OrderCancelled(self._next(), time_us, order, order.remaining_lots, reason)

    def _reject(self, order: Order, reason: str) -> OrderRejected:
        order.status = "rejected"
        order.status_reason = reason
        return OrderRejected(self._next(), order.created_us, order, reason)

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence

    def queue(self, side: Side) -> list[Order]:
        """Return one side's resting orders as they would trade: by price, then by arrival."""
        mine = [order for order in self.orders if order.side == side]
        sign = -1 if side == "buy" else 1
        return sorted(mine, key=lambda order: (sign * order.price_ticks, order.order_no))

    def depth(self, side: Side) -> list[tuple[int, int]]:
        """Return (price_ticks, quantity_lots) of one side's levels, best first."""
        levels: dict[int, int] = {}
        for order in self.queue(side):
            levels[order.price_ticks] = levels.get(order.price_ticks, 0) + order.remaining_lots
        return list(levels.items())

    def state_hash(self) -> str:
        """Return the digest of the counters and of every resting order in priority order."""
        text = f"{self.sequence} {self.order_no} {self.trade_no}"
        for side in ("buy", "sell"):
            text += "|"
            for order in self.queue(side):
                text += f"{order.order_no}:{order.price_ticks}:{order.remaining_lots};"
        return blake2b(text.encode(), digest_size=16).hexdigest()


def _crosses(taker: Order, maker: Order) -> bool:
    if taker.type == "market":
        return True
    if taker.side == "buy":
        return maker.price_ticks <= taker.price_ticks
    return maker.price_ticks >= taker.price_ticks
