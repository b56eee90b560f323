"""This process's list of instruments, and which history it tells of them, from PostgreSQL."""

import asyncio
import logging
import time

from api.errors import ApiError, unknown_instrument
from api.unmatched import Watch
from workers.adapters.errors import AdapterError
from workers.adapters.lookups import Lookups
from workers.core.instruments import Instrument

logger = logging.getLogger(__name__)

# An instrument added or changed by an operator is seen by every edge within this time.
REFRESH_S = 2.0


class Instruments:
    """What can be traded. Empty until the first refresh."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        self._by_name: dict[str, Instrument] = {}
        # Rises when the database was restored: sequences are then given a second time.
        self.timeline = 0
        self._known = asyncio.Event()
        self._watch = Watch()

    @property
    def names(self) -> list[str]:
        """The public names, oldest first."""
        return list(self._by_name)

    async def run(self) -> None:
        """Refresh for ever; what is known stays known while PostgreSQL is down."""
        while True:
            try:
                self.timeline = await self._lookups.timeline()
                rows = await self._lookups.instruments()
                self._by_name = {instrument.instrument: instrument for instrument, _ in rows}
                if self._by_name:
                    self._known.set()
                self._watch.look(rows, time.monotonic())
            except AdapterError as error:
                logger.warning("cannot refresh the instruments: %s", error)
            await asyncio.sleep(REFRESH_S if self._known.is_set() else 0.1)

    async def wait_known(self) -> list[str]:
        """Return the names, as soon as there are any."""
        await self._known.wait()
        return self.names

    def all(self) -> list[Instrument]:
        """Return every instrument, oldest first. Raises ApiError (503 while none is known yet)."""
        if not self._by_name:
            raise ApiError("unavailable", "this process is starting: try again shortly")
        return list(self._by_name.values())

    def get(self, name: str) -> Instrument:
        """Return an instrument. Raises ApiError (404; 503 while none is known yet)."""
        instrument = self._by_name.get(name)
        if instrument is None:
            self.all()
            raise unknown_instrument(name, self.names)
        return instrument
