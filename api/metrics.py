"""GET /metrics: what all processes of this machine counted, and how the exchange stands now."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sanic import Blueprint, HTTPResponse, Request

from api.books import Book
from api.exchange import Exchange
from workers.adapters.errors import AdapterError
from workers.adapters.kafka_health import reach_broker
from workers.adapters.lookups import JobState
from workers.adapters.streams import StreamLags, StreamState
from workers.core.records import MirrorLag
from workers.metrics_folder import MetricsFolder

exporter = Blueprint("metrics")

# How long a scrape waits for PostgreSQL and Redis; without them it still has the rest to tell.
LOOK_TIMEOUT_S = 0.8

Result = TypeVar("Result")


@exporter.get("/metrics", ctx_counted=False)
async def scrape(request: Request) -> HTTPResponse:
    """Answer in Prometheus's text format, or in OpenMetrics if that is asked for."""
    exporter: Exporter = request.app.ctx.exporter
    body, content_type = await exporter.scrape(request.headers.get("accept", ""))
    return HTTPResponse(body, content_type=content_type)


class Look(Generic[Result]):
    """Asks a server something that may take for ever: one question at a time, a bounded wait."""

    def __init__(self, ask: Callable[[], Awaitable[Result]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[Result | None] | None = None

    async def result(self) -> Result | None:
        """Return the answer, or None when there is none in time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._put())
        # Not cancelled when the time is up: to cancel a query can take longer than the query.
        done, _ = await asyncio.wait({self._asking}, timeout=LOOK_TIMEOUT_S)
        return self._asking.result() if done else None

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking}, timeout=LOOK_TIMEOUT_S)

    async def _put(self) -> Result | None:
        try:
            return await self._ask()
        except AdapterError:
            return None


class Exporter:
    """Puts the counts of the machine and the state of the exchange together."""

    def __init__(self, exchange: Exchange, folder: MetricsFolder, lags: StreamLags) -> None:
        self._exchange = exchange
        self._folder = folder
        self._instruments = Look(exchange.lookups.instruments)
        self._jobs = Look(exchange.lookups.jobs)
        self._fees = Look(exchange.lookups.fees_earned)
        self._lags = Look(lambda: lags.read(exchange.instruments.names))
        self._mirror = Look(exchange.lookups.mirror_lags)
        self._kafka = Look(self._reach_kafka)

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the answer and its content type."""
        up: dict[tuple[str, ...], float] = {}
        mirrored = None
        if self._exchange.kafka is None:
            instruments, lags, jobs, fees = await asyncio.gather(
                self._instruments.result(),
                self._lags.result(),
                self._jobs.result(),
                self._fees.result(),
            )
        else:
            instruments, lags, jobs, fees, mirrored, kafka = await asyncio.gather(
                self._instruments.result(),
                self._lags.result(),
                self._jobs.result(),
                self._fees.result(),
                self._mirror.result(),
                self._kafka.result(),
            )
            up["kafka",] = kafka is not None
        up["postgres",], up["redis",] = instruments is not None, lags is not None
        state = [
            _gauge("dependency_up", "1 if the server answers", ("dependency",), up),
            _gauge(
                "current_orderbook_depth", "Levels in the order book, `bid` or `ask`",
                ("instrument", "side"), _levels(self._exchange.feed.books),
            ),
        ]  # fmt: skip
        if instruments is not None:
            held: dict[tuple[str, ...], float] = {
                (instrument.instrument,): matched for instrument, matched in instruments
            }
            help_text = "1 while a matcher holds the instrument's lease"
            state.append(_gauge("matcher_lease_held", help_text, ("instrument",), held))
        if lags is not None:
            state += _stream_gauges(lags)
        if fees is not None:
            earned: dict[tuple[str, ...], float] = {
                (row.instrument, row.asset): float(row.fees) for row in fees
            }
            help_text = "Fees of all trades, rebates taken off, in the asset they are paid in"
            state.append(_gauge("fees_earned", help_text, ("instrument", "asset"), earned))
        if mirrored is not None:
            state += _mirror_gauges(mirrored)
        state += _job_gauges(jobs or [])
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(Collected(self._folder, state))
        # In a thread: it reads a few files and takes milliseconds, in which orders need not wait.
        return await asyncio.to_thread(encode, registry), content_type

    async def close(self) -> None:
        """Ask no more."""
        looks = (
            self._instruments, self._lags, self._jobs, self._fees, self._mirror, self._kafka,
        )  # fmt: skip
        for look in looks:
            await look.close()

    async def _reach_kafka(self) -> bool:
        assert self._exchange.kafka is not None
        await reach_broker(self._exchange.kafka)
        return True


class Collected:
    """Counts of the folder, and gauges in place of the folder's own of the same name."""

    def __init__(self, folder: MetricsFolder, state: list[Metric]) -> None:
        self._folder = folder
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """Return every metric once."""
        known = {metric.name for metric in self._state}
        yield from (metric for metric in self._folder.collect() if metric.name not in known)
        yield from self._state

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is, is known when it is asked for."""
        return []


def _levels(books: dict[str, Book]) -> dict[tuple[str, ...], float]:
    rows: dict[tuple[str, ...], float] = {}
    for name, book in books.items():
        if (counts := book.level_counts()) is not None:
            rows[name, "bid"], rows[name, "ask"] = counts
    return rows


def _stream_gauges(streams: Mapping[str, StreamState]) -> list[Metric]:
    """Of every instrument, wherever its matcher is."""
    rows = streams.items()
    return [
        _gauge(
            "stream_lag_entries", "Stream entries that are not committed yet", ("instrument",),
            {(name,): stream.lag for name, stream in rows},
        ),
        _gauge(
            "matcher_epoch", "The latest epoch that reads the instrument's stream",
            ("instrument",), {(name,): stream.epoch for name, stream in rows},
        ),
    ]  # fmt: skip


def _mirror_gauges(lags: list[MirrorLag]) -> list[Metric]:
    return [
        _gauge(
            "mirror_lag_events", "Events that are not in Kafka for sure", ("instrument",),
            {(lag.instrument,): lag.events for lag in lags},
        ),
        _gauge(
            "mirror_lag_seconds", "Age of the oldest of these events", ("instrument",),
            {(lag.instrument,): lag.seconds for lag in lags},
        ),
    ]  # fmt: skip


def _job_gauges(jobs: Iterable[JobState]) -> list[Metric]:
    """Of every job, wherever its clock and its workers are; nothing when nobody can tell."""
    rows = list(jobs)
    return [
        _gauge(name, text, ("job",), {(row.job,): value(row) for row in rows})
        for name, text, value in JOB_GAUGES
    ]


# Overdue for long means that no clock or no worker of its queue runs.
JOB_GAUGES: tuple[tuple[str, str, Callable[[JobState], float]], ...] = (
    (
        "job_overdue_seconds", "For how long a job has been due without being run",
        lambda row: row.overdue_s,
    ),
    ("jobs_running", "Runs under way", lambda row: row.running),
    ("job_failures_in_a_row", "Failures since the last success", lambda row: row.failures),
)  # fmt: skip


def _gauge(
    name: str, text: str, labels: tuple[str, ...], rows: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in rows.items():
        family.add_metric(values, value)
    return family
