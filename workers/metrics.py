"""Every metric of every process, by the name it has at /metrics.

Nothing is made at import: a composition root makes one `Metrics` and passes it down. Counts of the
market (orders, trades, volume) are the matcher's, taken from committed batches; counts of requests
are the edge's. See metrics_folder.py for how the processes of a machine add up.

A metric with labels is a function of their values, in the order of its label names, and remembers
what it returned: `metrics.orders_received("limit", "buy").inc()`.
"""

import asyncio
from bisect import bisect_left
from collections import Counter as Tallied
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From half a millisecond, which an idle exchange reaches, to the submit timeout.
LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
# From a step that found nothing to do, to the reconciliation of a large database.
JOB_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


Kind = TypeVar("Kind", Counter, Gauge, Histogram)
# How the values of several processes become one (`live`: of those that still run).
Mode = Literal["livesum", "livemax", "mostrecent"]


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        # Of this process alone, and of use to tests; what is served comes from MetricsFolder.
        self.registry = CollectorRegistry()
        self.tally = Tally()

        # Orders, at the edge.
        self.orders_received = self._counter(
            "orders_received_total",
            "Well-formed orders that clients submitted, repeats included",
            "type", "side",
        )  # fmt: skip
        self.order_latency = self._histogram(
            "order_latency_seconds",
            "From the arrival of an order to its answer; refused orders are not in it",
        )
        # At both: the market's reasons (status_reason) and the edge's error codes.
        self.orders_rejected = self._counter(
            "orders_rejected_total",
            "Orders that the market rejected, by status_reason, and submissions that the edge "
            "refused, by error code",
            "reason",
        )
        self.commands_in_flight = self._gauge(
            "commands_in_flight", "Commands that were sent and are not answered yet"
        )()
        self.overload_refusals = self._counter(
            "overload_refusals_total", "Commands refused because too many wait", "cause"
        )
        self.rate_limited_requests = self._counter(
            "rate_limited_requests_total", "Requests and WebSocket messages refused by a rate limit"
        )()

        # The market, in the matcher.
        self.orders_matched = self._counter(
            "orders_matched_total", "Orders that traded, counted at their first fill", "instrument"
        )
        self.trades = self._counter("trades_total", "Trades", "instrument")
        self.trade_volume = self._counter(
            "trade_volume_total", "Quantity traded, in the base asset", "instrument"
        )
        self.fills = self._counter(
            "fills_total", "Fills, by the role of the filled order", "instrument", "role"
        )
        self.dead_letters = self._counter(
            "dead_letters_total", "Stream entries that could not be applied", "instrument"
        )

        # The matcher itself.
        self.commit_batch_entries = self._histogram(
            "commit_batch_entries", "Stream entries per committed batch", BATCH_BUCKETS
        )
        self.commit_batch_seconds = self._histogram(
            "commit_batch_seconds", "From taking a batch to its commit"
        )
        self.publish_seconds = self._histogram(
            "publish_seconds", "From the commit of a batch to the end of its publication"
        )
        self.matcher_epoch = self._gauge(
            "matcher_epoch",
            "The latest epoch that a matcher of this machine acquired",
            "instrument",
            mode="mostrecent",
        )
        self.matcher_lease_held = self._gauge(
            "matcher_lease_held", "1 while a matcher holds the instrument's lease",
            "instrument", mode="livemax",
        )  # fmt: skip
        self.recoveries = self._counter(
            "recoveries_total", "Epochs that ended with an error, by its kind",
            "instrument", "cause",
        )  # fmt: skip

        # The Kafka mirror.
        self.mirrored_events = self._counter(
            "mirrored_events_total", "Events that Kafka has confirmed", "instrument"
        )
        self.mirror_failures = self._counter(
            "mirror_failures_total", "Runs of the mirror that failed, by the kind of error",
            "instrument", "cause",
        )  # fmt: skip

        # The edge itself.
        self.http_requests = self._counter(
            "http_requests_total", "HTTP requests answered", "route", "method", "status"
        )
        self.http_request_seconds = self._labelled_histogram(
            "http_request_seconds", "From the head of a request to its answer", "route", "method"
        )
        self.websocket_connections = self._gauge(
            "websocket_connections", "Open WebSocket connections"
        )()
        self.websocket_messages = self._counter(
            "websocket_messages_received_total", "WebSocket messages received"
        )()
        self.websocket_clients_resynced = self._counter(
            "websocket_clients_resynced_total", "Times a slow client was taken off its channels "
            "and got a fresh start when it had caught up",
        )()  # fmt: skip
        self.websocket_clients_dropped = self._counter(
            "websocket_clients_dropped_total", "Clients disconnected because they were too slow"
        )()
        self.feed_gaps_repaired = self._counter(
            "feed_gaps_repaired_total", "Gaps in an instrument's feed that were noticed and filled",
            "instrument",
        )  # fmt: skip
        self.feed_reconnects = self._counter(
            "feed_reconnects_total", "Times the subscription to Redis was lost and made anew"
        )()

        # Jobs. For how long each has been due, and runs under way, are looked up at scrape time.
        self.job_runs = self._counter(
            "job_runs_total", "Runs that ended, by outcome: done, failed or stopped",
            "job", "outcome",
        )  # fmt: skip
        self.job_run_seconds = self._labelled_histogram(
            "job_run_seconds", "From the claim of a run to its end", "job", buckets=JOB_BUCKETS_S
        )
        self.job_messages = self._counter(
            "job_messages_total",
            "Messages that workers took: processed, failed (a server was down), retried or dead",
            "queue", "result",
        )  # fmt: skip
        self.clock_last_tick = self._gauge(
            "clock_last_tick_timestamp_seconds",
            "When a clock of this machine last told the workers what is due", mode="livemax",
        )()  # fmt: skip
        self.reconciliation_violations = self._gauge(
            "reconciliation_violations",
            "Rows that violate an invariant, as the last reconciliation found; 0 is what must be",
            "invariant", mode="mostrecent",
        )  # fmt: skip
        self.reconciliation_last = self._gauge(
            "reconciliation_last_timestamp_seconds", "When a reconciliation last came to its end",
            mode="mostrecent",
        )()  # fmt: skip

        # The business, as the job `figures` last read it in the ledger.
        self.active_clients = self._gauge(
            "active_clients", "Clients that sent an order (ordering) or traded in the last hour",
            "activity", mode="mostrecent",
        )  # fmt: skip
        self.fee_revenue = self._gauge(
            "fee_revenue", "Fees of the last hour, less rebates, in the asset",
            "segment", "role", "asset", mode="mostrecent",
        )  # fmt: skip

    def _counter(self, name: str, text: str, *labels: str) -> Callable[..., Counter]:
        return _children(Counter(name, text, labels, registry=self.registry))

    def _gauge(
        self, name: str, text: str, *labels: str, mode: Mode = "livesum"
    ) -> Callable[..., Gauge]:
        return _children(Gauge(name, text, labels, registry=self.registry, multiprocess_mode=mode))

    def _histogram(
        self, name: str, text: str, buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)

    def _labelled_histogram(
        self, name: str, text: str, *labels: str, buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Callable[..., Histogram]:
        return _children(Histogram(name, text, labels, buckets=buckets, registry=self.registry))


class Tally:
    """Counts of what happens thousands of times a second, within an event loop.

    A count that goes into a shared file takes a microsecond, and an order has seven of them. So
    they are added up here, and written in the next turn of the loop: together for all that this
    turn handles.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[Counter, int] = defaultdict(int)
        self._values: defaultdict[Histogram, list[float]] = defaultdict(list)
        self._due = False

    def count(self, counter: Counter, times: int = 1) -> None:
        """Count something."""
        self._counts[counter] += times
        if not self._due:
            self._schedule()

    def observe(self, histogram: Histogram, value: float) -> None:
        """Take a value in."""
        self._values[histogram].append(value)
        if not self._due:
            self._schedule()

    def _schedule(self) -> None:
        self._due = True
        asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._due = False
        for counter, times in self._counts.items():
            counter.inc(times)
        self._counts.clear()
        for histogram, values in self._values.items():
            # What `observe` does for each of them.
            bounds = histogram._upper_bounds
            histogram._sum.inc(sum(values))
            for bucket, times in Tallied(bisect_left(bounds, value) for value in values).items():
                histogram._buckets[bucket].inc(times)
        self._values.clear()


def _children(metric: Kind) -> Callable[..., Kind]:
    """Return a quick `metric.labels`; of a metric without labels, what returns the metric."""
    return cache(metric.labels if metric._labelnames else lambda: metric)
