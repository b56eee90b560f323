"""What a batch counts, by what its commands did."""

import logging

import pytest

from tests.unit.test_core_batch import Run
from workers.core.batch import DeadLetter
from workers.core.units import UNITS_PER_ONE
from workers.matching.observe import BatchObserver
from workers.metrics import Metrics

# (what it shows, commands of earlier batches, commands, matched, trades, lots, rejected)
COUNTED = [
    ("a resting order", "", "b1 buy 5@100", 0, 0, 0, {}),
    ("maker and taker of one batch", "", "s1 sell 5@100; b1 buy 2@100", 2, 1, 2, {}),
    ("a maker that rested", "s1 sell 5@100", "b1 buy 2@100", 2, 1, 2, {}),
    ("a maker is counted at its first fill", "s1 sell 5@100; b0 buy 1@100",
     "b1 buy 2@100", 1, 1, 2, {}),
    ("a maker met twice is one", "s1 sell 5@100", "b1 buy 2@100; b2 buy 3@100", 3, 2, 5, {}),
    ("a cancel matches nothing", "s1 sell 5@100; b0 buy 1@100", "cancel s1", 0, 0, 0, {}),
    ("filled, then cancelled", "s1 sell 5@100", "b1 buy 2@100; cancel s1", 2, 1, 2, {}),
    ("what remains of a market order", "s1 sell 5@100", "b1 buy 9@market", 2, 1, 5, {}),
    ("rejected", "", "b1 buy 9@market; late b2 buy 1@1; b3 sell 1@market", 0, 0, 0,
     {"no_liquidity": 2, "expired": 1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "commands", "matched", "trades", "lots", "rejected"),
    [row[1:] for row in COUNTED],
    ids=[row[0] for row in COUNTED],
)
def test_counts(
    before: str, commands: str, matched: int, trades: int, lots: int, rejected: dict[str, int]
) -> None:
    metrics = Metrics()
    observer = BatchObserver(metrics, "BTC-USD", 1)
    run = Run(before)
    run.add(commands)
    effects = observer.take(run.batch)
    # The next batch changes the same orders before this one is committed.
    run.start()
    run.add("b8 buy 1@1000; s8 sell 1@1; b9 buy 100@1000; s9 sell 100@1")
    assert metrics.registry.get_sample_value("commit_batch_entries_count") == 0
    observer.committed(effects)
    observer.published(effects)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    instrument = {"instrument": "BTC-USD"}
    assert value("orders_matched_total", **instrument) == matched
    assert value("trades_total", **instrument) == trades
    assert value("trade_volume_total", **instrument) == lots / UNITS_PER_ONE
    assert value("fills_total", **instrument, role="maker") == trades
    assert value("fills_total", **instrument, role="taker") == trades
    for reason in ("no_liquidity", "expired"):
        assert value("orders_rejected_total", reason=reason) == rejected.get(reason, 0)
    assert value("commit_batch_entries_sum") == len(commands.split(";"))
    assert value("commit_batch_seconds_count") == value("publish_seconds_count") == 1


def test_dead_letters_are_counted() -> None:
    metrics = Metrics()
    observer = BatchObserver(metrics, "BTC-USD", 1)
    run = Run()
    run.batch.add_entry("1-0")
    run.batch.dead_letters.append(DeadLetter("1-0", b"", "no JSON"))
    observer.committed(observer.take(run.batch))
    assert metrics.dead_letters("BTC-USD")._value.get() == 1


def test_each_order_is_a_line_at_debug_and_none_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    observer = BatchObserver(Metrics(), "BTC-USD", 7)
    for level in (logging.INFO, logging.DEBUG):
        caplog.set_level(level, logger="workers.matching.observe")
        run = Run("s1 sell 5@100; s2 sell 1@200")
        run.add("b1 buy 2@100; cancel s2")
        observer.committed(observer.take(run.batch))
    assert [(r.instrument, r.epoch, r.sequence, r.order_id, r.status) for r in caplog.records] == [
        ("BTC-USD", 7, 4, "b1", "filled"),
        ("BTC-USD", 7, 4, "s1", "partially_filled"),
        ("BTC-USD", 7, 5, "s2", "cancelled"),
    ]
