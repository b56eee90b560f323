"""One instrument's life in one matcher: take the lease, recover, match, and again."""

import asyncio
import logging
import time
from dataclasses import dataclass

from workers.adapters.errors import AdapterError, DataRejected, Fenced
from workers.adapters.ledger import Ledger
from workers.adapters.streams import OrderStream
from workers.core.instruments import Instrument
from workers.matching.loop import Caution, Loop
from workers.matching.recovery import recover
from workers.settings import Settings

logger = logging.getLogger(__name__)

# Between tries while a server is down: quick enough to be trading again within a second or two of
# its return, slow enough not to be a load of its own.
BACKOFF_S = (0.05, 0.2, 0.5, 1.0)


def clock_us() -> int:
    """Return this machine's time in microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass
class Shard:
    """Matches one instrument for as long as this process may."""

    settings: Settings
    instrument: Instrument
    owner: str
    _loop: Loop | None = None
    _stopping: bool = False

    def stop(self) -> None:
        """Finish what was read, release the lease, and let `run` return."""
        self._stopping = True
        if self._loop is not None:
            self._loop.stop()

    async def run(self) -> None:
        """Match until stopped, or until another owner has the instrument."""
        caution = Caution(self.settings.batch_length_max)
        name = self.instrument.instrument
        failures = 0
        while not self._stopping:
            try:
                if not await self._serve(caution):
                    return
                failures = 0
            except Fenced as error:
                logger.warning("%s: fenced: %s", name, error)
                return
            except DataRejected as error:
                # At once: the caution makes the next epoch tread smaller.
                logger.error("%s: the database refused a batch: %s", name, error)
            except AdapterError as error:
                logger.warning(
                    "%s: recovering after %s: %s",
                    name, type(error).__name__, error,
                )  # fmt: skip
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    async def _serve(self, caution: Caution) -> bool:
        """Match for one epoch. Returns False when another owner has the lease."""
        name = self.instrument.instrument
        began = time.monotonic()
        ledger = await Ledger.open(
            self.settings.database_url, self.instrument, self.settings.lease_ms
        )
        try:
            standing = await ledger.acquire(self.owner)
            if standing is None:
                logger.info("%s: another matcher holds it, standing by", name)
                return False
            stream = OrderStream(self.settings.redis_url, name, standing.epoch)
            try:
                engine = await recover(ledger, stream, standing)
                logger.info(
                    "%s: trading, epoch %d, sequence %d, %d resting orders, state %s, after %.3f s",
                    name, standing.epoch, engine.sequence, len(engine.book.orders),
                    engine.state_hash(), time.monotonic() - began,
                )  # fmt: skip
                self._loop = Loop(
                    instrument=name,
                    engine=engine,
                    epoch=standing.epoch,
                    position=standing.position,
                    last_time_us=standing.last_time_us,
                    lease_ms=self.settings.lease_ms,
                    ledger=ledger,
                    stream=stream,
                    clock=clock_us,
                    caution=caution,
                )
                if self._stopping:
                    self._loop.stop()
                await self._loop.run()
                await ledger.release(standing.epoch)
                logger.info("%s: stopped, lease released", name)
                return False
            finally:
                await stream.close()
        finally:
            await ledger.close()
