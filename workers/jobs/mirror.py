"""Copying the event log to Kafka: at least once, in order, and nothing left out.

A slice takes the mirror's lease of one instrument, then, page by page: reads the events after the
stored offset, writes their messages, waits until Kafka has confirmed all of them, and stores the
new offset. A mirror that dies between the last two writes that page again, the same messages under
the same numbers. Of two mirrors by mistake one waits for the lease; one that slept through the end
of its lease is fenced when it stores, and stops: what it wrote are messages that came before or
come again.

Without Kafka nothing here goes on, and nothing else waits: the events stay in PostgreSQL.
"""

import logging
import time
import uuid

from workers.adapters.errors import AdapterError
from workers.adapters.failpoints import Failpoints
from workers.adapters.kafka import Publisher
from workers.adapters.mirror import MirrorLog, Place, SyncConnection
from workers.core.instruments import Instrument
from workers.core.mirror import unroll
from workers.jobs.job import Context, Result
from workers.jobs.mirror_messages import TOPICS, encode
from workers.jobs.progress import Progress, no_progress
from workers.metrics import Metrics
from workers.settings import KafkaSettings

logger = logging.getLogger(__name__)

# How long one run lasts: others wait for their turn, and a stop must not wait for us.
SLICE_S = 5.0
# Events per page: some 5,000 messages and 2 MB in memory, written in a few requests.
PAGE_LENGTH = 1_000
# How long Kafka may take to confirm a page. Then the run fails, and another tries later.
PUBLISH_TIMEOUT_S = 8.0
# How long a dead mirror keeps an instrument; longer than a page may take, reading included.
LEASE_MS = 12_000
# How long a run waits when it has copied all events, and after how many looks in vain it ends
# before its time. A run that has had nothing to copy ends at once: others may have.
IDLE_S = 0.1
IDLE_LOOKS_MAX = 5


class Mirror:
    """The job. Every thread of the process writes with the same client of Kafka."""

    def __init__(self, kafka: KafkaSettings, failpoints: Failpoints) -> None:
        self._publisher = failpoints.around("kafka", Publisher(kafka, TOPICS))
        self._failpoints = failpoints

    def run(self, context: Context) -> Result:
        """Copy for some seconds, and go on at once when there was something to copy."""
        assert context.instrument is not None
        copied = mirror_slice(
            context.connection,
            self._publisher,
            context.instrument,
            context.progress,
            context.metrics,
            failpoints=self._failpoints,
        )
        return Result(f"events: {copied}", again_ms=0 if copied else None)


def mirror_slice(
    connection: SyncConnection,
    publisher: Publisher,
    instrument: Instrument,
    progress: Progress = no_progress,
    metrics: Metrics | None = None,
    *,
    slice_s: float = SLICE_S,
    page_length: int = PAGE_LENGTH,
    publish_timeout_s: float = PUBLISH_TIMEOUT_S,
    lease_ms: int = LEASE_MS,
    failpoints: Failpoints | None = None,
) -> int:
    """Copy events of one instrument for some seconds; return how many.

    0 when another mirror is at work. Raises Unavailable (Kafka or PostgreSQL is down: try
    later), Refused or DataRejected (something must be set up otherwise), Fenced (another mirror
    took over), BrokenLog, and Stopped. Whatever it raises, nothing is lost.
    """
    log = (failpoints or Failpoints()).around("mirror", MirrorLog(connection, instrument, lease_ms))
    begun = place = log.begin(uuid.uuid4().hex)
    if begun is None or place is None:
        return 0
    deadline = time.monotonic() + slice_s
    looks_left = 1
    name = instrument.instrument
    try:
        while time.monotonic() < deadline and looks_left:
            page = log.read(place, page_length)
            done = place.sequence - begun.sequence
            if not page.events:
                looks_left -= 1
                progress(done, None, "waiting for events")
                time.sleep(IDLE_S if looks_left else 0)
                continue
            looks_left = IDLE_LOOKS_MAX
            steps = list(unroll(name, place.sequence, place.trade_no, page.events, page.orders))
            messages = list(encode(instrument, place, steps))

            def waiting(done: int = done) -> None:
                progress(done, None, "waiting for Kafka")

            publisher.publish(messages, publish_timeout_s, waiting)
            after = place._replace(sequence=steps[-1].event.sequence, trade_no=steps[-1].trade_no)
            log.store(place, after)
            place = after
            if metrics is not None:
                metrics.mirrored_events(name).inc(len(steps))
            progress(place.sequence - begun.sequence, None, f"sequence {place.sequence}")
            if len(steps) < page_length:
                # Caught up. To run after every order would cost trading a commit for each.
                time.sleep(IDLE_S)
    except AdapterError as error:
        if metrics is not None:
            metrics.mirror_failures(name, type(error).__name__).inc()
        raise
    finally:
        _end(log, place)
    return place.sequence - begun.sequence


def _end(log: MirrorLog, place: Place) -> None:
    """Give the lease back; if that fails it runs out."""
    try:
        log.end(place)
    except AdapterError as error:
        logger.warning("the mirror's lease was not given back: %s", error)
