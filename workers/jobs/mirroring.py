"""The mirror as a job: one producer for the process, slices of some seconds, one after another."""

from workers.adapters.kafka import Publisher
from workers.jobs.job import Context, Result
from workers.jobs.mirror import mirror_slice
from workers.jobs.mirror_messages import TOPICS
from workers.settings import KafkaSettings

# Between looks while nothing happens, or while the lease of a mirror that died runs out.
IDLE_MS = 500


class Mirroring:
    """Mirrors an instrument per call; connects to Kafka when it is first needed."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._publisher = Publisher(settings, TOPICS)

    def __call__(self, context: Context) -> Result:
        """Mirror for some seconds, and go on, at once if there was anything to do."""
        assert context.instrument is not None
        events = mirror_slice(
            context.connection, self._publisher, context.instrument, context.progress,
            context.metrics,
        )  # fmt: skip
        return Result(f"{events} events", again_ms=0 if events else IDLE_MS)
