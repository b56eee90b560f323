"""The figures of the business at /metrics are those that analysts get."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

import sql
from tests.history import BEGIN, make_history
from workers.jobs import figures
from workers.metrics import Metrics


@pytest.mark.parametrize("hours", [0, 3, 1_000])
def test_they_are_what_analysts_see(database_url: str, hours: int) -> None:
    make_history(database_url, seed=23, commands=1_500)
    since = BEGIN + timedelta(hours=hours)
    with psycopg.connect(database_url) as look:
        ((ordering, trading),) = look.execute(sql.query("recent_clients"), {"from": since})
        rows = look.execute(
            "SELECT (SELECT count(DISTINCT client_no) FROM exchange.orders"
            "  WHERE created_at > %(t)s),"
            " (SELECT count(DISTINCT c) FROM exchange.trades,"
            "  LATERAL (VALUES (maker_client_no), (taker_client_no)) AS side(c)"
            "  WHERE traded_at > %(t)s)", {"t": since},
        ).fetchall()  # fmt: skip
        assert rows == [(ordering, trading)]
        fees = {row[:3]: row[3] for row in look.execute(sql.query("recent_fees"), {"from": since})}
        earned = look.execute(
            "SELECT segment, role, asset, fees FROM analytics.fee_revenue(%s, 'infinity')", (since,)
        ).fetchall()
    assert {name for name, fee in fees.items() if fee} == {tuple(row[:3]) for row in earned}
    for segment, role, asset, fee in earned:
        assert fees[segment, role, asset] == fee
    # What was earned before and is not any more goes back to nothing.
    assert {("standard", "taker", "USD"), ("market-maker", "maker", "USD")} <= set(fees)
    assert bool(earned) == (hours < 1_000)


def test_the_job_tells_them(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_history(database_url, seed=23, commands=300)
    monkeypatch.setattr(figures, "WINDOW", datetime.now(UTC) - BEGIN)
    metrics = Metrics()
    with psycopg.connect(database_url, autocommit=True) as jobs:
        jobs.execute(sql.query("assume_role"), {"role": "exchange_jobs"})
        context: Any = SimpleNamespace(connection=jobs, metrics=metrics)
        assert figures.run(context).detail == "clients: 5 ordering, 5 trading"
    assert metrics.active_clients("trading")._value.get() == 5
    value = metrics.fee_revenue("standard", "taker", "USD")._value.get()
    assert Decimal(value) > 0
