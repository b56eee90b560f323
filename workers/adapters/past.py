"""Questions about the past, put to a read replica where there is one."""

import logging
import time

from workers.adapters.errors import AdapterError, DataRejected, TimedOut
from workers.adapters.lookups import Lookups
from workers.core.records import Candle

logger = logging.getLogger(__name__)


class Past:
    """Reads history from a replica, which lags; from the primary without one, or when it fails."""

    def __init__(self, primary: Lookups, replica: Lookups | None) -> None:
        self._primary = primary
        self._replica = replica

    async def close(self) -> None:
        """Close the connections to the replica; the primary's belong to somebody else."""
        if self._replica is not None:
            await self._replica.close()

    async def candles(
        self, instrument: str, from_us: int, to_us: int, interval_minutes: int, limit: int
    ) -> tuple[list[Candle], int | None]:
        """Return the candles, and how many milliseconds old they may be; None: not at all.

        Raises Unavailable, TimedOut, OutcomeUnknown.
        """
        asked = (instrument, from_us, to_us, interval_minutes, limit)
        if self._replica is None:
            return await self._primary.candles(*asked), None
        began = time.monotonic()
        try:
            # The age first: what is read after it is not older than that, and the time in between.
            age_ms = await self._replica.age_ms()
            candles = await self._replica.candles(*asked)
        except (TimedOut, DataRejected):
            raise  # the primary would say the same
        except AdapterError as error:
            logger.warning("history is read from the primary: %s", error)
            return await self._primary.candles(*asked), None
        return candles, age_ms + int((time.monotonic() - began) * 1000)
