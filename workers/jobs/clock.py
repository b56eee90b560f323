"""The clock: tell the workers what is due. It has no state; any number may run.

    python -m workers.jobs.clock

The database says what is due, and gives each row to one clock, for a while: should the message be
lost, with Redis or with a worker, the row is given out again.
"""

import logging
import sys
import threading
import time
from collections.abc import Sequence

from prometheus_client import Gauge

from workers.adapters.errors import AdapterError
from workers.adapters.jobs import JobStore, Registration
from workers.jobs.broker import Messages
from workers.jobs.job import Job

logger = logging.getLogger(__name__)

# Messages per tick: more are sent a tick later.
MESSAGES_MAX = 200


class Clock:
    """Sends a message for whatever is due."""

    def __init__(
        self,
        jobs: Sequence[Job],
        store: JobStore,
        messages: Messages,
        hint_ms: int,
        last_tick: Gauge,
    ) -> None:
        self._queues = {job.name: job.queue for job in jobs}
        self._registrations = [Registration(j.name, j.per_instrument, j.period) for j in jobs]
        self._store = store
        self._messages = messages
        self._hint_ms = hint_ms
        self._last_tick = last_tick

    def run(self, stopping: threading.Event, interval_s: float) -> None:
        """Tick until told to stop, whatever servers do meanwhile."""
        failing = False
        while not stopping.is_set():
            try:
                self.tick()
                if failing:
                    logger.info("the clock goes on")
                failing = False
            except AdapterError as error:
                if not failing:
                    logger.warning("the clock cannot tell the workers what is due: %s", error)
                failing = True
            stopping.wait(interval_s)
        self._store.close()

    def tick(self) -> int:
        """Make rows of new jobs and instruments; return how many messages were sent.

        Raises AdapterError when a server is down.
        """
        if changed := self._store.register(self._registrations):
            logger.info("%d jobs registered", changed)
        # Redis first: what is taken now and cannot be sent would have to wait.
        open_queues = {q for q in set(self._queues.values()) if self._messages.has_room(q)}
        known = [job for job, queue in self._queues.items() if queue in open_queues]
        due = self._store.hint_due(known, self._hint_ms, MESSAGES_MAX)
        for job, subject in due:
            logger.debug("%s %s is due", job, subject)
            self._messages.send(self._queues[job], job, subject)
        self._last_tick.set(time.time())
        return len(due)


if __name__ == "__main__":
    from workers.jobs.app import main

    sys.exit(main("clock", clock=True, queues=()))
