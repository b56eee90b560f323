"""What a matcher's batches say of themselves: counts, durations, and log lines per order."""

import logging
import time
from collections import Counter
from dataclasses import dataclass

from workers.core.batch import Batch
from workers.core.messages import EXPIRED, NO_LIQUIDITY, Order
from workers.core.units import UNITS_PER_ONE
from workers.metrics import Metrics

logger = logging.getLogger(__name__)


@dataclass
class Effects:
    """A batch as it stood when it was taken; its orders go on changing after that."""

    entries: int
    trades: int
    volume_lots: int
    matched: int
    rejected: Counter[str]
    dead_letters: int
    # (sequence of the last change, order_id, status) of each order that changed, for debugging.
    changes: list[tuple[int, str, str]]
    since: float


class BatchObserver:
    """Counts one instrument's batches, once per batch and not per order."""

    def __init__(self, metrics: Metrics, instrument: str, epoch: int) -> None:
        self._extra = {"instrument": instrument, "epoch": epoch}
        self._entries = metrics.commit_batch_entries
        self._commit_s = metrics.commit_batch_seconds
        self._publish_s = metrics.publish_seconds
        self._rejected = metrics.orders_rejected
        self._matched = metrics.orders_matched(instrument)
        self._trades = metrics.trades(instrument)
        self._volume = metrics.trade_volume(instrument)
        self._makers = metrics.fills(instrument, "maker")
        self._takers = metrics.fills(instrument, "taker")
        self._dead_letters = metrics.dead_letters(instrument)
        for reason in (NO_LIQUIDITY, EXPIRED):
            metrics.orders_rejected(reason)  # there from the start, at 0

    def take(self, batch: Batch) -> Effects:
        """Look at a batch that is complete and will now be committed."""
        fresh = [order for _, order in batch.orders]
        return Effects(
            entries=len(batch),
            trades=len(batch.trades),
            volume_lots=sum(trade.quantity_lots for trade in batch.trades),
            matched=sum(order.filled_lots > 0 for order in fresh)
            # Of the orders that rested before: those with no fill before this batch's.
            + sum(0 < u.filled_lots == u.order.filled_lots for u in batch.updates.values()),
            rejected=Counter(o.status_reason for o in fresh if o.status == "rejected"),
            dead_letters=len(batch.dead_letters),
            changes=_changes(batch) if logger.isEnabledFor(logging.DEBUG) else [],
            since=time.perf_counter(),
        )

    def committed(self, effects: Effects) -> None:
        """Count a batch that is durable."""
        self._commit_s.observe(self._lap(effects))
        self._entries.observe(effects.entries)
        if effects.trades:
            self._matched.inc(effects.matched)
            self._trades.inc(effects.trades)
            self._volume.inc(effects.volume_lots / UNITS_PER_ONE)
            self._makers.inc(effects.trades)
            self._takers.inc(effects.trades)
        for reason, count in effects.rejected.items():
            self._rejected(reason).inc(count)
        if effects.dead_letters:
            self._dead_letters.inc(effects.dead_letters)
        for sequence, order_id, status in effects.changes:
            extra = {"order_id": order_id, "status": status, "sequence": sequence}
            logger.debug("order %s is %s", order_id, status, extra=self._extra | extra)

    def published(self, effects: Effects) -> None:
        """Count a batch whose replies and depth are out."""
        self._publish_s.observe(self._lap(effects))

    @staticmethod
    def _lap(effects: Effects) -> float:
        before, effects.since = effects.since, time.perf_counter()
        return effects.since - before


def _changes(batch: Batch) -> list[tuple[int, str, str]]:
    last: dict[int, tuple[int, Order]] = {}
    changed = [
        *batch.orders,
        *((trade.sequence, trade.maker) for trade in batch.trades),
        *((trade.sequence, trade.taker) for trade in batch.trades),
        *((cancel.sequence, cancel.order) for cancel in batch.cancels),
    ]
    for sequence, order in sorted(changed, key=lambda change: change[0]):
        last[order.order_no] = (sequence, order)
    return sorted((sequence, order.order_id, order.status) for sequence, order in last.values())
