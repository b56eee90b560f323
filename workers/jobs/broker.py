"""Messages to the workers, through Redis. They are hints: any may be lost, doubled or late."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Middleware, Retries, TimeLimit

from workers.adapters.errors import OutcomeUnknown
from workers.adapters.redis import connect_blocking
from workers.jobs.job import Job
from workers.metrics import Metrics

# All keys begin with it, apart from the streams' and with one hash tag of their own.
NAMESPACE = "{jobs}"
# Messages that wait in a queue; a clock that finds more there sends none.
QUEUE_LENGTH_MAX = 1_000
# How long messages that could not be delivered are kept, for `python -m ops jobs dead-letters`.
DEAD_MESSAGE_TTL_MS = 7 * 86_400_000
# A job ends by its own time limit; who does not even notice that is interrupted after this.
INTERRUPT_AFTER_MS = 60_000


def make_broker(redis_url: str, *middleware: Middleware) -> RedisBroker:
    """Return a broker with nothing declared; it connects when it is used."""
    client = connect_blocking(redis_url, NAMESPACE)
    return RedisBroker(  # type: ignore[no-untyped-call]
        client=client,
        namespace=NAMESPACE,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
        middleware=list(middleware),
    )


def worker_middleware(metrics: Metrics) -> tuple[Middleware, ...]:
    """Return what a worker's broker needs.

    How a job ended is in the database, which also says when it is tried again; `Retries` is for
    messages that came while the database could not be asked. A message has no age limit: what is
    due is due, however long it took to say so, and the queue has a limit of its own.
    """
    return (
        TimeLimit(),
        Retries(max_retries=5, min_backoff=1_000, max_backoff=60_000),
        MessageMetrics(metrics),
    )


class MessageMetrics(Middleware):
    """Counts messages.

    Dramatiq's own Prometheus middleware makes a folder of its own at import and points
    prometheus_client's variable at it: the counts of this process would be missing in ours.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._count = metrics.job_messages

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        """Count a message that was processed."""
        self._count(message.queue_name, "failed" if exception else "processed").inc()

    def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        """Count a message that is sent once more because the database could not be asked."""
        if "retries" in message.options:
            self._count(message.queue_name, "retried").inc()

    def after_nack(self, broker: Any, message: Any) -> None:
        """Count a message that is given up."""
        self._count(message.queue_name, "dead").inc()


class Messages:
    """Sends messages and looks at queues. Raises OutcomeUnknown when Redis does not answer."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker

    def send(self, queue: str, job: str, subject: str, delay_ms: int = 0) -> None:
        """Tell the workers of a queue that there may be something to do."""
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=queue, actor_name=job, args=(subject,), kwargs={}, options={}
        )
        with translated():
            self._broker.enqueue(message, delay=delay_ms or None)

    def has_room(self, queue: str) -> bool:
        """Tell whether a queue takes more messages."""
        with translated():
            return int(self._broker.client.llen(f"{NAMESPACE}:{queue}")) < QUEUE_LENGTH_MAX

    def dead(self, queue: str) -> list[tuple[int, dramatiq.Message[None]]]:
        """Return the messages that were given up: when, in milliseconds since 1970, and each."""
        key = f"{NAMESPACE}:{queue}.XQ"
        with translated():
            client: Any = self._broker.client
            numbers = client.zrange(key, 0, -1, withscores=True)
            texts = client.hmget(f"{key}.msgs", [number for number, _ in numbers] or [""])
        return [
            (int(at), dramatiq.Message.decode(text))
            for (_, at), text in zip(numbers, texts, strict=False)
            if text is not None
        ]


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise OutcomeUnknown(f"Redis: {error}") from error


def declare_actors(
    broker: RedisBroker, jobs: Iterable[Job], run: Callable[[str, str], None]
) -> None:
    """Let `run(job, subject)` answer the messages of each job, in its queue."""
    for job in jobs:
        dramatiq.Actor(
            _calling(run, job.name),
            broker=broker,
            actor_name=job.name,
            queue_name=job.queue,
            priority=0,
            options={"time_limit": job.time_limit_ms + INTERRUPT_AFTER_MS},
        )


def _calling(run: Callable[[str, str], None], job: str) -> Callable[[str], None]:
    def act(subject: str) -> None:
        run(job, subject)

    return act
