"""A crowd against the real engine, without processes, clocks or delays: the same run every time."""

from collections.abc import Iterator

from ops.crowd.crowd import Crowd
from ops.crowd.desk import Cancel, Decision, Submit
from workers.core.depth import DepthReplica, DepthSnapshot, take_delta
from workers.core.engine import MatchingEngine
from workers.core.messages import (
    FINAL,
    CancelOrder,
    CancelRefused,
    SubmitOrder,
    Trade,
)

FOR_EVER_US = 1 << 60


class SimulatedMarket:
    """Lets a crowd act arrival after arrival, and answers from an engine."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.engine = MatchingEngine()
        self.book = DepthReplica(DepthSnapshot(0, [], []))
        self.trades: list[Trade] = []

    def run(self, seconds: float) -> Iterator[tuple[float, Decision]]:
        """Yield each decision with its time, after it was applied."""
        while (now := self.crowd.next_at) < seconds:
            for decision in self.crowd.act(self.book):
                self.apply(decision, int(now * 1e6))
                yield now, decision

    def apply(self, decision: Decision, now_us: int) -> None:
        """Apply one decision and tell the crowd what came of it, as the feed and answers do."""
        before = self.engine.sequence
        events = self.engine.apply(_command(decision, now_us))
        self.book.apply(take_delta(self.engine.book, before, self.engine.sequence))
        for event in events:
            if isinstance(event, Trade):
                self.trades.append(event)
                maker, taker = event.maker, event.taker
                buy, sell = (taker, maker) if taker.side == "buy" else (maker, taker)
                self.crowd.trade(buy.order_id, sell.order_id, taker.side, event.quantity_lots)
        if isinstance(decision, Submit):
            order = events[0].order
            desk = self.crowd.desk
            (desk.gone if order.status in FINAL else desk.rests)(decision.order_id)
        else:
            assert not isinstance(events[0], CancelRefused)
            self.crowd.desk.gone(decision.order_id)


def _command(decision: Decision, now_us: int) -> SubmitOrder | CancelOrder:
    if isinstance(decision, Cancel):
        return CancelOrder(decision.order_id, now_us, FOR_EVER_US)
    return SubmitOrder(
        decision.order_id,
        decision.client_id,
        decision.side,
        "limit" if decision.price_ticks else "market",
        decision.price_ticks,
        decision.quantity_lots,
        "",
        True,
        now_us,
        FOR_EVER_US,
    )
