"""One instrument's life in one matcher: take the lease, recover, match, and again."""

import asyncio
import logging
import time
from dataclasses import dataclass

from workers.adapters.errors import AdapterError, DataRejected, EpochPassed, Fenced
from workers.adapters.failpoints import Failpoints
from workers.adapters.ledger import Ledger
from workers.adapters.streams import OrderStream
from workers.core.instruments import Instrument
from workers.matching.loop import Caution, Loop
from workers.matching.observe import BatchObserver
from workers.matching.recovery import keep_lease, recover
from workers.metrics import Metrics
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
    metrics: Metrics
    failpoints: Failpoints
    _loop: Loop | None = None
    _stopping: bool = False
    # The last one that was ours, and the least that the next one must be.
    _epoch: int = 0
    _epoch_min: int = 0

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
            except AdapterError as error:
                cause = type(error).__name__
                extra = {"instrument": name, "epoch": self._epoch, "cause": cause}
                self.metrics.recoveries(name, cause).inc()
                if isinstance(error, EpochPassed):
                    # Unless another matcher holds the lease, this database is behind what Redis has
                    # seen: it is new, or was restored.
                    self._epoch_min = error.epoch + 1
                elif isinstance(error, Fenced):
                    logger.warning("fenced, lease lost: %s", error, extra=extra)
                    return
                if isinstance(error, DataRejected):
                    # At once: the caution makes the next epoch tread smaller.
                    logger.error("the database refused a batch: %s", error, extra=extra)
                    continue
                logger.warning("recovering after %s: %s", cause, error, extra=extra)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    async def _serve(self, caution: Caution) -> bool:
        """Match for one epoch. Returns False when another owner has the lease."""
        name = self.instrument.instrument
        began = time.monotonic()
        ledger = self.failpoints.around(
            "ledger",
            await Ledger.open(self.settings.database_url, self.instrument, self.settings.lease_ms),
        )
        try:
            standing = await ledger.acquire(self.owner, self._epoch_min)
            if standing is None:
                logger.info("another matcher holds it, standing by", extra={"instrument": name})
                return False
            self._epoch = standing.epoch
            extra = {"instrument": name, "epoch": standing.epoch}
            logger.info("lease taken", extra=extra)
            self.metrics.matcher_epoch(name).set(standing.epoch)
            self.metrics.matcher_lease_held(name).set(1)
            stream = self.failpoints.around(
                "stream", OrderStream(self.settings.redis_url, name, standing.epoch)
            )
            try:
                recovering = recover(name, ledger, stream, standing)
                engine = await keep_lease(
                    ledger, standing.epoch, self.settings.lease_ms, recovering
                )
                logger.info(
                    "trading, epoch %d, sequence %d, %d resting orders, state %s, after %.3f s",
                    standing.epoch, engine.sequence, len(engine.book.orders),
                    engine.state_hash(), time.monotonic() - began, extra=extra,
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
                    observer=BatchObserver(self.metrics, name, standing.epoch),
                )
                if self._stopping:
                    self._loop.stop()
                await self._loop.run()
                await ledger.release(standing.epoch)
                logger.info("stopped, lease released", extra=extra)
                return False
            finally:
                await stream.close()
        finally:
            self.metrics.matcher_lease_held(name).set(0)
            await ledger.close()
