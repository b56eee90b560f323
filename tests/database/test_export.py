"""Exports hold what is stored: exactly, whole or not at all, whatever the format."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.__main__ import main
from ops.orders_file import Line, read_orders
from tests.history import BEGIN, History, make_history, to_us
from tests.matcher import BTC_USD, ONE, Matcher, cancel, limit, market
from tests.servers import fresh_database
from workers.adapters.ledger import Ledger
from workers.core.depth import take_snapshot

WHATS = ("trades", "orders", "ledger", "events", "book")
MIDNIGHT = datetime(2026, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def stored(postgres_url: str, migrated_database: str) -> Iterator[tuple[str, History]]:
    with fresh_database(postgres_url, migrated_database) as url:
        yield url, make_history(url, seed=21, commands=1_500)


def export(url: str, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> int:
    monkeypatch.setenv("DATABASE_URL", url)
    return main(["export", *map(str, arguments)])


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_trades(
    stored: tuple[str, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, history = stored
    file = tmp_path / "trades.csv"
    begin, end = BEGIN + timedelta(hours=1), MIDNIGHT
    for instrument, begins, ends in (
        (None, None, None), ("ETH-USD", None, None), (None, begin, end), ("BTC-USD", begin, None),
    ):  # fmt: skip
        options = [instrument] if instrument else []
        options += ["--from", begins.isoformat()] if begins else []
        options += ["--to", ends.isoformat()] if ends else []
        assert export(url, monkeypatch, "trades", *options, "--output", file) == 0
        fills = [
            fill
            for fill in history.fills
            if instrument in (None, fill.instrument)
            and (begins or BEGIN) <= fill.at < (ends or history.end)
        ]
        fills.sort(key=lambda fill: (fill.instrument, fill.sequence))
        assert [
            (row["trade_id"], row["traded_at"], row["maker"], row["taker_order_id"],
             Decimal(row["price"]), Decimal(row["value"]), Decimal(row["taker_fee"]))
            for row in read_csv(file)
        ] == [
            (f"{fill.instrument}-{fill.trade_no}", f"{fill.at:%Y-%m-%dT%H:%M:%S.%fZ}", fill.maker,
             fill.taker_order_id, *map(decimal, (fill.price, fill.value, fill.taker_fee)))
            for fill in fills
        ]  # fmt: skip
        assert fills
    assert [path.name for path in tmp_path.iterdir()] == ["trades.csv"]


def decimal(amount: Any) -> Decimal:
    return Decimal(amount.numerator) / Decimal(amount.denominator)


def test_orders_events_ledger_and_book_are_complete(
    stored: tuple[str, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, history = stored
    rows = {}
    for what in WHATS:
        file = tmp_path / what
        assert export(url, monkeypatch, what, "--output", file) == 0
        rows[what] = read_csv(file)
    accepted = [step for step in history.steps if step.kind != "cancelled"]
    assert {row["order_id"] for row in rows["orders"]} == {step.order_id for step in accepted}
    assert len(rows["orders"]) == len(accepted)
    assert [(row["instrument"], int(row["sequence"])) for row in rows["events"]] == [
        (instrument, sequence)
        for instrument in ("BTC-USD", "ETH-USD")
        for sequence in range(1, max(history.depths[instrument]) + 1)
    ]
    with psycopg.connect(url) as connection:
        (postings,) = connection.execute("SELECT count(*) FROM exchange.postings").fetchone()  # type: ignore[misc]
    assert len(rows["ledger"]) == postings
    assert {row["book"] for row in rows["ledger"]} == {"house", "BTC-USD", "ETH-USD"}
    for asset in ("BTC", "ETH", "USD"):
        assert sum(Decimal(row["amount"]) for row in rows["ledger"] if row["asset"] == asset) == 0
    for instrument in ("BTC-USD", "ETH-USD"):
        depth = history.depths[instrument][max(history.depths[instrument])]
        assert [
            (row["side"], Decimal(row["price"]), Decimal(row["quantity"]))
            for row in rows["book"]
            if row["instrument"] == instrument
        ] == [
            (side, Decimal(price) / ONE, Decimal(lots) / ONE)
            for side, levels in zip(("bid", "ask"), depth, strict=True)
            for price, lots in levels
        ]


def test_a_book_of_the_past(
    stored: tuple[str, History], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, history = stored
    file = tmp_path / "book.csv"
    sequence = max(n for n, at in history.times["BTC-USD"].items() if at < MIDNIGHT)
    options = ("book", "BTC-USD", "--to", "2026-01-06", "--levels", 3, "--output", file)
    assert export(url, monkeypatch, *options) == 0
    rows = read_csv(file)
    bids, asks = history.depths["BTC-USD"][sequence]
    assert [Decimal(row["price"]) * ONE for row in rows] == [p for p, _ in [*bids[:3], *asks[:3]]]
    assert {int(row["sequence"]) for row in rows} == {sequence}


@pytest.mark.parametrize("what", WHATS)
def test_parquet_says_what_csv_says(
    stored: tuple[str, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    from pyarrow import parquet, types

    url, _ = stored
    text, binary = tmp_path / "x.csv", tmp_path / "x.parquet"
    assert export(url, monkeypatch, what, "--output", text) == 0
    # Several row groups, also of this little.
    monkeypatch.setattr("ops.exporting.parquet.BLOCK_LENGTH", 16 * 1024)
    assert export(url, monkeypatch, what, "--format", "parquet", "--output", binary) == 0
    table = parquet.read_table(binary)
    rows = read_csv(text)
    assert table.num_rows == len(rows)
    assert table.column_names == list(rows[0])
    if what != "book":
        assert parquet.ParquetFile(binary).num_row_groups > 1
    for name in table.column_names:
        kind = table.schema.field(name).type
        assert not types.is_floating(kind)
        for value, row in zip(table.column(name).to_pylist(), rows, strict=True):
            if value is None:
                assert row[name] == ""
            elif isinstance(value, Decimal):
                assert value == Decimal(row[name])
            elif isinstance(value, datetime):
                assert f"{value:%Y-%m-%dT%H:%M:%S.%fZ}" == row[name]
            else:
                assert str(value) == row[name]


async def test_lobster_there_and_back(
    postgres_url: str, migrated_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is read by `ops replay`, traded again, and written the same."""
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    options = ("events", "BTC-USD", "--format", "lobster", "--levels", 4)
    with fresh_database(postgres_url, migrated_database) as url:
        ledger = await Ledger.open(url, BTC_USD, 10_000)
        standing = await ledger.acquire("test")
        assert standing is not None
        matcher = Matcher(ledger, standing)
        depths = []
        matcher.time_us = to_us(BEGIN)
        for number in range(600):
            side = "buy" if number * 7 % 5 < 2 else "sell"
            price = (100 + number * 13 % 9 - 4) * ONE // 4 * 4
            matcher.time_us += 1_234_567
            command: Any = limit(
                side,
                price,
                (1 + number * 3 % 4) * ONE,
                order_id=f"o{number}",  # type: ignore[arg-type]
            )
            if number % 5 == 4:
                command = market(side, (1 + number % 3) * ONE)  # type: ignore[arg-type]
            elif number % 6 == 5 and matcher.engine.book.orders:
                command = cancel(next(iter(matcher.engine.book.orders)))
            await matcher.commit(await matcher.apply(command))
            depths.append(take_snapshot(matcher.engine.book, 0))
        await ledger.close()
        assert export(url, monkeypatch, *options, "--output", first) == 0
    with fresh_database(postgres_url, migrated_database) as url:
        ledger = await Ledger.open(url, BTC_USD, 10_000)
        standing = await ledger.acquire("test")
        assert standing is not None
        matcher = Matcher(ledger, standing)
        rows = first.read_text().splitlines()
        for row, line in zip(rows, read_orders(first), strict=True):
            assert isinstance(line, Line)
            seconds, fraction = row.split(",")[0].split(".")
            day = datetime(BEGIN.year, BEGIN.month, BEGIN.day, tzinfo=UTC)
            matcher.time_us = to_us(day) + int(seconds) * 10**6 + int(fraction) // 1000
            if line.body is None:
                assert line.order_id
                command = cancel(line.order_id)
            else:
                body = json.loads(line.body)
                lots = int(Decimal(body["quantity"]) * ONE)
                ticks = int(Decimal(body.get("price", 0)) * ONE)
                command = limit(body["side"], ticks, lots, order_id=line.order_id)
            await matcher.commit(await matcher.apply(command))
        await ledger.close()
        assert export(url, monkeypatch, *options, "--output", second) == 0
    assert {row.split(",")[1] for row in rows} == {"1", "3", "4"}
    assert unnumbered(first) == unnumbered(second)
    books = tmp_path / "first-orderbook.csv"
    assert books.read_text() == (tmp_path / "second-orderbook.csv").read_text()
    written = books.read_text().splitlines()
    assert len(written) == len(rows)
    # The book after the last event of all is the engine's.
    asks, bids = sorted(depths[-1].asks)[:4], sorted(depths[-1].bids, reverse=True)[:4]
    cells = list(map(int, written[-1].split(",")))
    for n in range(4):
        ask, bid = cells[4 * n : 4 * n + 2], cells[4 * n + 2 : 4 * n + 4]
        assert ask == (
            [asks[n][0] // 10**4, asks[n][1] // ONE] if n < len(asks) else [9999999999, 0]
        )
        assert bid == (
            [bids[n][0] // 10**4, bids[n][1] // ONE] if n < len(bids) else [-9999999999, 0]
        )


def unnumbered(path: Path) -> list[list[str]]:
    """Return the rows with orders named by when they are first seen."""
    names: dict[str, str] = {}
    rows = [line.split(",") for line in path.read_text().splitlines()]
    return [[*row[:2], names.setdefault(row[2], str(len(names))), *row[3:]] for row in rows]


REFUSED = [
    (("events", "--format", "lobster"), "events INSTRUMENT"),
    (("trades", "BTC-USD", "--format", "lobster"), "events INSTRUMENT"),
    (("trades", "DOGE-USD"), "There is no instrument DOGE-USD"),
    (("trades", "--from", "2026-01-02", "--to", "2026-01-01"), "--from is after --to"),
    (("book", "--from", "2026-01-02"), "give --to"),
    (("events", "BTC-USD", "--format", "lobster"), "choose a smaller --size-unit"),
    (
        ("events", "BTC-USD", "--format", "lobster", "--size-unit", "0.00000001"),
        "holds one day",
    ),
]


@pytest.mark.parametrize(("arguments", "error"), REFUSED)
def test_what_cannot_be_written_says_why_and_leaves_nothing(
    stored: tuple[str, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], error: str,
) -> None:  # fmt: skip
    old = tmp_path / "file.csv"
    old.write_text("old")
    assert export(stored[0], monkeypatch, *arguments, "--output", old) == 1
    said = capsys.readouterr().err
    assert error in said
    assert said.count("\n") == 1
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_that_is_not_there(
    stored: tuple[str, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    output = tmp_path / "nowhere" / "file.csv"
    assert export(stored[0], monkeypatch, "trades", "--output", output) == 1
    assert "Cannot write" in capsys.readouterr().err


def test_without_pyarrow(
    stored: tuple[str, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    output = tmp_path / "x.parquet"
    assert export(stored[0], monkeypatch, "trades", "--format", "parquet", "--output", output) == 1
    assert "pip install 'trade-engine[parquet]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away(stored: tuple[str, History]) -> None:
    """`ops export trades | head -1` ends without a word."""
    command = f"DATABASE_URL='{stored[0]}' {sys.executable} -m ops export ledger | head -1"
    ended = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.startswith("book,sequence,kind,posted_at,leg,account,asset,amount")
    assert ended.stderr == ""


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_memory_does_not_grow_with_what_is_written(
    postgres_url: str, migrated_database: str, tmp_path: Path, format: str
) -> None:
    peaks = []
    for orders in (20_000, 400_000):
        with fresh_database(postgres_url, migrated_database) as url:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("INSERT INTO exchange.clients (client_id) VALUES ('c')")
                connection.execute(
                    "INSERT INTO exchange.orders SELECT 1, n, 'order-' || n, 1, 'buy', 'limit', n,"
                    " 1, 0, 0, 'open', NULL, NULL, n, now(), now() FROM generate_series(1, %s) n",
                    (orders,),
                )
                connection.execute("UPDATE exchange.shard SET order_no = %s", (orders,))
                connection.execute("ANALYZE exchange.orders")
            code = (
                "import os, resource, sys\n"
                "from ops.__main__ import main\n"
                "assert main(sys.argv[1:]) == 0\n"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
            )
            ended = subprocess.run(
                [sys.executable, "-c", code, "export", "orders", "BTC-USD", "--format", format,
                 "--output", tmp_path / "x"],
                env={"DATABASE_URL": url, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            peaks.append(int(ended.stdout))
    assert (tmp_path / "x").stat().st_size > 1_000_000
    unit = 1024 if sys.platform == "linux" else 1
    assert (peaks[1] - peaks[0]) * unit < 64 * 1024 * 1024, peaks
