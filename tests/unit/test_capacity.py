"""The capacity model: what it must obey whatever was measured, and the page that shows it."""

import pytest

from ops.bench import capacity
from ops.bench.capacity import BUSY, MEASURED, PAGE, at_batch, batch_of, cell, costs, page, report


def test_measured_batches_cost_what_was_measured() -> None:
    for row in MEASURED:
        assert costs(row.batch)[2:] == pytest.approx(row[2:])


def test_between_two_batches_a_part_per_batch_and_a_part_per_order() -> None:
    # 100 per batch and 5 per order.
    points = [(1.0, 105.0), (10.0, 15.0), (100.0, 6.0)]
    for batch in (1, 2, 7, 10, 50, 100):
        assert at_batch(points, batch) == pytest.approx(100 / batch + 5)
    assert at_batch(points, 0.5) == 105
    assert at_batch(points, 1_000) == 6


def test_a_batch_is_what_comes_during_a_commit() -> None:
    assert batch_of(1) == pytest.approx(1)
    for rate in (500, 1_000, 4_000):
        batch = batch_of(rate)
        took_us = (capacity.FSYNC_US + batch * costs(batch).postgres) / (1 - BUSY)
        assert batch == pytest.approx(max(1, rate * took_us / 1e6), rel=0.01)
    assert batch_of(10**9) == 256


def test_no_core_is_busier_than_it_may_be() -> None:
    for size in (1, 10, 40, 100):
        made = cell(size, 1_000)
        assert made is not None
        cost = costs(made.batch)
        hearing = at_batch(capacity.HEARING_US, made.batch)
        per_web = (cost.web - hearing) * made.orders / made.web + hearing * made.orders
        assert per_web <= BUSY * 1e6 * 1.001
        assert cost.postgres * made.orders / made.postgres <= BUSY * 1e6
    # Web processes that can only listen.
    assert cell(1_000, 1_000) is None


def test_the_page_shows_what_the_model_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, report(1_000_000, 1_000)) == text, "python -m ops.bench.capacity --write"
