"""From a taken lease to a running loop: what PostgreSQL holds is where the engine stands.

The engine is rebuilt from the resting orders, or, when that is less work, from the newest usable
snapshot and what happened after it. Both end in the same state; a snapshot only spares time, so
whatever is wrong with one is a reason to do without it, never to fail.
"""

import asyncio
import gc
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from workers.adapters.errors import Fenced
from workers.adapters.ledger import Standing
from workers.core.depth import take_snapshot
from workers.core.engine import MatchingEngine
from workers.core.engine_snapshot import (
    FORMAT,
    BrokenSnapshot,
    Counters,
    EngineSnapshot,
    bring_up_to_date,
)
from workers.core.messages import Order
from workers.matching.ports import Ledger, Stream

logger = logging.getLogger(__name__)

# Beyond this, the events after a snapshot cost more than it saves (ops/bench/recovery.py).
EVENTS_PER_ORDER_MAX = 0.25

Result = TypeVar("Result")


async def recover(
    instrument: str, ledger: Ledger, stream: Stream, standing: Standing
) -> MatchingEngine:
    """Rebuild the engine, put the stream at the stored position, publish complete depth.

    The lease was taken behind any commit of the old owner, so what is loaded is final.
    """
    extra = {"instrument": instrument, "epoch": standing.epoch}
    # What is made here stays: looking through it for garbage again and again takes a third longer.
    gc.disable()
    try:
        resting = await load_resting(ledger, standing, extra)
        engine = MatchingEngine(standing.sequence, standing.order_no, standing.trade_no, resting)
    finally:
        gc.enable()
    if not await stream.open(standing.position):
        logger.error(
            "entries after position %s were deleted unread: those orders got no answer and were "
            "never applied",
            standing.position,
            extra=extra,
        )
    # Replicas resync on this, and edges look up what the last batches may not have answered.
    await stream.publish_depth(take_snapshot(engine.book, engine.sequence))
    return engine


async def load_resting(ledger: Ledger, standing: Standing, extra: dict[str, Any]) -> list[Order]:
    """Return every resting order, in no order."""
    now = Counters(standing.sequence, standing.order_no, standing.trade_no)
    if count := await ledger.discard_snapshots(now.sequence):
        logger.warning(
            "%d snapshots newer than sequence %d deleted: was the database restored?",
            count, now.sequence, extra=extra,
        )  # fmt: skip
    reasons = []
    try:
        for snapshot in await ledger.engine_snapshots():
            sequence = snapshot.counters.sequence
            if unusable := why_not(snapshot, now):
                reasons.append(f"the snapshot at sequence {sequence} {unusable}")
                continue
            try:
                orders = await ledger.load_snapshot(snapshot)
                changes = await ledger.changes_since(snapshot.counters)
                resting = bring_up_to_date(snapshot, orders, changes, now)
            except BrokenSnapshot as error:
                reasons.append(f"the snapshot at sequence {sequence} is broken")
                logger.warning("%s: %s", reasons[-1], error, extra=extra)
                continue
            logger.info(
                "recovered from the snapshot at sequence %d and %d events after it",
                sequence, changes.events, extra=extra,
            )  # fmt: skip
            return resting
    except BrokenSnapshot as error:
        reasons.append(f"snapshots cannot be read: {error}")
    why = "; ".join(reasons) or "there is no snapshot"
    logger.info("recovering from the resting orders: %s", why, extra=extra)
    return await ledger.load_open_orders()


def why_not(snapshot: EngineSnapshot, now: Counters) -> str | None:
    """Return why not to recover from `snapshot`, or None when it is worth a try."""
    events = now.sequence - snapshot.counters.sequence
    if events < 0:
        return f"is newer than what is committed, sequence {now.sequence}"
    if snapshot.format != FORMAT:
        return f"has format {snapshot.format}, and this program reads {FORMAT}"
    if events > EVENTS_PER_ORDER_MAX * snapshot.orders:
        return f"is {events} events old, which is more work than its {snapshot.orders} orders"
    return None


async def keep_lease(
    ledger: Ledger, epoch: int, lease_ms: int, work: Coroutine[Any, Any, Result]
) -> Result:
    """Return the result of `work`, prolonging the lease meanwhile. Raises Fenced.

    A book may take longer to load than a lease lasts.
    """
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=lease_ms / 4000)
            if not task.done() and not await ledger.renew(epoch):
                raise Fenced("the lease has passed to another owner")
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
