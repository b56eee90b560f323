"""Counts made in a hurry come out as those made one by one."""

import asyncio

from workers.metrics import LATENCY_BUCKETS_S, Metrics


async def test_a_tally_counts_what_the_metrics_would() -> None:
    tallied, direct = Metrics(), Metrics()
    values = [0.0, 0.0005, 0.00051, 0.01, 0.01, 1.0, *LATENCY_BUCKETS_S, 99.0]
    for value in values:
        tallied.tally.observe(tallied.order_latency, value)
        tallied.tally.count(tallied.orders_received("limit", "buy"))
        direct.order_latency.observe(value)
        direct.orders_received("limit", "buy").inc()
    tallied.tally.count(tallied.websocket_messages, 7)
    direct.websocket_messages.inc(7)
    assert samples(tallied)["websocket_messages_received_total", ()] == 0
    await asyncio.sleep(0)
    assert samples(tallied) == samples(direct)
    # And goes on.
    tallied.tally.count(tallied.websocket_messages)
    await asyncio.sleep(0)
    assert samples(tallied)["websocket_messages_received_total", ()] == 8


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): round(sample.value, 9)
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }
