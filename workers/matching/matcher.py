"""One matcher among others: it looks around, takes instruments, gives some back."""

import asyncio
import logging
import time

from workers.adapters.errors import AdapterError
from workers.adapters.failpoints import Failpoints
from workers.adapters.shards import Roster, Shards
from workers.matching.shard import Shard
from workers.matching.share import Share
from workers.metrics import Metrics
from workers.settings import Settings

logger = logging.getLogger(__name__)

# Looks per lease. A matcher that has not looked for three quarters of one counts as dead: its
# instruments may be counted for others by the time its last lease has run out.
LOOKS_PER_LEASE = 4
ALIVE_LEASES = 0.75
# After a lease has run out by the server's clock.
MARGIN_MS = 5


class Matcher:
    """Holds its share of the instruments; for the others it is a hot standby."""

    def __init__(
        self, settings: Settings, metrics: Metrics, owner: str, failpoints: Failpoints
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._owner = owner
        self._failpoints = failpoints
        self._shards = failpoints.around("shards", Shards(settings.database_url, owner))
        self._share = Share(settings.lease_ms / 1000)
        self._running: dict[int, tuple[Shard, asyncio.Task[None]]] = {}
        # Those of them that are being given back.
        self._leaving: set[int] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Match until `stopping`; then give everything back. Raises what nobody foresaw."""
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                wait_s = await self._look()
                await self._pause(wait_s, stop)
        finally:
            stop.cancel()
            await self._end()

    async def _look(self) -> float:
        """Take and give back what is due; return how long nothing more will be."""
        self._collect()
        look_s = self._settings.lease_ms / 1000 / LOOKS_PER_LEASE
        try:
            roster = await self._shards.report(int(ALIVE_LEASES * self._settings.lease_ms))
            await self._take(roster)
        except AdapterError as error:
            logger.warning("cannot look for free instruments: %s", error)
            return look_s
        self._give_back(roster)
        if roster.next_free_ms is None:
            return look_s
        return min(look_s, (max(0, roster.next_free_ms) + MARGIN_MS) / 1000)

    def _collect(self) -> None:
        for instrument_id, (_, task) in list(self._running.items()):
            if task.done():
                del self._running[instrument_id]
                self._leaving.discard(instrument_id)
                task.result()  # an error that nobody foresaw ends the process

    async def _take(self, roster: Roster) -> None:
        numbers = self._share.to_take(roster, self._running, time.monotonic())
        if not numbers:
            return
        for instrument in await self._shards.instruments(numbers):
            shard = Shard(self._settings, instrument, self._owner, self._metrics, self._failpoints)
            task = asyncio.create_task(shard.run())
            self._running[instrument.instrument_id] = (shard, task)

    def _give_back(self, roster: Roster) -> None:
        if self._leaving:
            return  # one after the other
        number = self._share.to_give_back(roster, self._running, time.monotonic())
        if number is not None:
            shard, _ = self._running[number]
            extra = {"instrument": shard.instrument.instrument}
            logger.info("giving it back: %d matchers share", roster.matchers, extra=extra)
            self._leaving.add(number)
            shard.stop()

    async def _pause(self, seconds: float, stop: "asyncio.Task[bool]") -> None:
        """Wait, but not when there is something to do: an instrument is free, or we are to stop."""
        free = asyncio.create_task(self._shards.wait_for_release(seconds))
        ended = [task for _, task in self._running.values()]
        try:
            await asyncio.wait([stop, free, *ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not free.done():
                free.cancel()
            await asyncio.gather(free, return_exceptions=True)  # the next look will tell

    async def _end(self) -> None:
        """Let others take over at once."""
        logger.info("stopping")
        try:
            await self._shards.retire()
        except AdapterError as error:
            logger.warning("cannot say that this matcher ends: %s", error)
        for shard, _ in self._running.values():
            shard.stop()
        tasks = [task for _, task in self._running.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._shards.close()
