"""From a taken lease to a running loop: what PostgreSQL holds is where the engine stands."""

import logging

from workers.adapters.ledger import Standing
from workers.core.depth import take_snapshot
from workers.core.engine import MatchingEngine
from workers.matching.ports import Ledger, Stream

logger = logging.getLogger(__name__)


async def recover(
    instrument: str, ledger: Ledger, stream: Stream, standing: Standing
) -> MatchingEngine:
    """Rebuild the engine, put the stream at the stored position, publish complete depth.

    The lease was taken behind any commit of the old owner, so what is loaded is final.
    """
    engine = MatchingEngine(
        standing.sequence,
        standing.order_no,
        standing.trade_no,
        await ledger.load_open_orders(),
    )
    if not await stream.open(standing.position):
        logger.error(
            "entries after position %s were deleted unread: those orders got no answer and were "
            "never applied",
            standing.position,
            extra={"instrument": instrument, "epoch": standing.epoch},
        )
    # Replicas resync on this, and edges look up what the last batches may not have answered.
    await stream.publish_depth(take_snapshot(engine.book, engine.sequence))
    return engine
