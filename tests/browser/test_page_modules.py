"""The arithmetic of the pages' own modules, run by the browser, against Python's."""

import random
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal

import pytest

from tests.browser_page import BrowserPage

Opener = Callable[..., BrowserPage]

METRICS = """\
# HELP orders_total Orders
# TYPE orders_total counter
orders_total{side="buy",type="limit"} 10.0
orders_total{side="sell",type="limit"} 5.0
odd{name="a\\"b, c=\\"d"} 1.0
latency_bucket{le="0.1"} 0.0
latency_bucket{le="0.2"} %d
latency_bucket{le="0.4"} %d
latency_bucket{le="+Inf"} %d
latency_count %d
latency_sum %f
"""


@pytest.fixture(scope="module")
def chance() -> random.Random:
    return random.Random(3)


def test_decimals_are_exact(open_page: Opener, chance: random.Random) -> None:
    page = open_page()
    texts = [
        f"{chance.choice(('', '-'))}{chance.randrange(10 ** chance.randint(1, 12))}"
        f"{chance.choice(('', f'.{chance.randrange(10**8):08}', '.5', '.125'))}"
        for _ in range(500)
    ]
    results = page.module(
        "shared/exact.js",
        """given.map(([text, decimals]) => {
            const units = exports.parse(text);
            return [units, exports.shortest(units), exports.fixed(units, decimals),
                exports.grouped(units, decimals)];
        })""",
        [[text, 3] for text in texts],
    )
    for text, (units, shortest, fixed, grouped) in zip(texts, results, strict=True):
        value = Decimal(text)
        assert Decimal(units) == value * 10**8
        assert Decimal(shortest) == value
        rounded = value.quantize(Decimal("0.001"), ROUND_HALF_EVEN)
        assert Decimal(fixed) == rounded
        assert grouped == f"{rounded:,.3f}" or (rounded == 0 and grouped in ("0.000", "-0.000"))


def test_what_is_no_number_is_refused(open_page: Opener) -> None:
    page = open_page()
    given = ["", "1,5", "1e3", "0x10", ".5", "5.", "1.123456789", " 1", "NaN", "--1", "1.2.3"]
    assert page.module("shared/exact.js", "given.map((text) => exports.parse(text))", given) == [
        None
    ] * len(given)


def test_json_keeps_every_digit(open_page: Opener) -> None:
    page = open_page()
    text = r'{"a":123456789012.12345678,"b":[1,-2.5,1E-7],"c":"x 1,2 \"3\" [4]","d":true,"e":null}'
    assert page.module("shared/exact.js", "exports.parseJson(given)", text) == {
        "a": "123456789012.12345678",
        "b": ["1", "-2.5", "1E-7"],
        "c": 'x 1,2 "3" [4]',
        "d": True,
        "e": None,
    }


def test_a_books_levels_are_those_of_a_plain_dictionary(
    open_page: Opener, chance: random.Random
) -> None:
    page = open_page()
    changes = [
        (chance.choice(("bids", "asks")), chance.randint(1, 60), chance.choice((0, 1, 2, 5)))
        for _ in range(2_000)
    ]
    results = page.module(
        "trade/book.js",
        """(() => {
            const book = new exports.Book();
            book.take({ snapshot: true, sequence: "0", bids: [], asks: [] });
            return given.map(([side, price, quantity], n) => {
                book.take({ snapshot: false, prev_sequence: String(n), sequence: String(n + 1),
                    bids: [], asks: [], [side]: [{ price: `${price}`, quantity: `${quantity}` }] });
                const whole = (units) => Number(units / 10n ** 8n);
                const show = (rows) => rows.map(({ price, quantity, cumulative }) =>
                    [price, quantity, cumulative].map(whole));
                return [show(book.bids.top(5)), show(book.asks.top(5)),
                    show(book.bids.top(3, 10n ** 9n)), show(book.asks.top(3, 10n ** 9n))];
            });
        })()""",
        changes,
    )
    sides: dict[str, dict[int, int]] = {"bids": {}, "asks": {}}

    def top(side: str, count: int, step: int = 1) -> list[list[int]]:
        levels: dict[int, int] = {}
        for price, quantity in sides[side].items():
            rounded = price // step * step if side == "bids" else -(-price // step) * step
            levels[rounded] = levels.get(rounded, 0) + quantity
        rows, total = [], 0
        for price in sorted(levels, reverse=side == "bids")[:count]:
            total += levels[price]
            rows.append([price, levels[price], total])
        return rows

    for (side, price, quantity), result in zip(changes, results, strict=True):
        sides[side][price] = quantity
        if quantity == 0:
            del sides[side][price]
        assert result == [
            top("bids", 5), top("asks", 5), top("bids", 3, 10), top("asks", 3, 10),
        ]  # fmt: skip


def test_what_an_order_would_take_is_what_the_book_holds(open_page: Opener) -> None:
    page = open_page()
    results = page.module(
        "trade/book.js",
        """(() => {
            const asks = new exports.Side(-1n);
            asks.reset([["10", "1"], ["11", "2"], ["12", "5"]].map(
                ([price, quantity]) => ({ price, quantity })));
            const unit = 10n ** 8n;
            return given.map(([quantity, limit]) => {
                const taken = asks.take(BigInt(quantity) * unit, limit && BigInt(limit) * unit);
                return [taken.quantity / unit, taken.value / unit / unit].map(Number);
            });
        })()""",
        [[1, None], [2, None], [9, None], [9, 11], [1, 9], [3, 12]],
    )
    assert results == [[1, 10], [2, 21], [8, 92], [3, 32], [0, 0], [3, 32]]


def test_rates_and_quantiles_are_those_of_prometheus(open_page: Opener) -> None:
    page = open_page("/status")
    older = METRICS % (10, 10, 10, 10, 1.5)
    newer = METRICS.replace("10.0", "40.0") % (20, 60, 60, 60, 16.5)
    results = page.module(
        "status/prometheus.js",
        """(() => {
            const [older, newer] = given.map((text, n) => new exports.Reading(text, n * 10_000));
            const span = new exports.Span(older, newer);
            const again = new exports.Span(newer, new exports.Reading(given[0], 20_000));
            const nothing = new exports.Span(newer, newer);
            return [span.rate("orders_total"), span.rate("orders_total", { side: "sell" }),
                span.quantile(0.1, "latency"), span.quantile(0.5, "latency"),
                span.mean("latency"), newer.all("odd")[0].labels.name, span.rate("none"),
                again.rate("latency_count"), nothing.quantile(0.5, "latency")];
        })()""",
        [older, newer],
    )
    assert results[0] == 3
    assert results[1] == 0
    assert results[2] == pytest.approx(0.15)  # half of the first ten, between 0.1 and 0.2
    assert results[3] == pytest.approx(0.2 + 0.2 * 15 / 40)
    assert results[4] == pytest.approx(0.3)
    assert results[5:] == ['a"b, c="d', None, 1, None]


def test_candles_that_are_not_wanted_any_more_do_not_come(open_page: Opener) -> None:
    page = open_page()
    rows = page.module(
        "trade/candles.js",
        """await (async () => {
            const real = window.fetch;
            let answer;
            window.fetch = () => new Promise((resolve) => (answer = resolve));
            const candles = new exports.Candles();
            const shown = candles.show("BTC-USD", "1m", () => []);
            const trade = { sequence: 1, price: 5n, quantity: 2n, time: 7_000 };
            const next = { ...trade, sequence: 2, price: 4n };
            await candles.show("BTC-USD", "1s", () => [trade, next]);
            const prices = { open: 9, high: 9, low: 9, close: 9, volume: 9 };
            const late = { time_bucket: "2026-01-01T00:00:00.000Z", ...prices };
            answer(new Response(JSON.stringify({ candles: [late] })));
            await shown;
            window.fetch = real;
            return candles.rows;
        })()""",
    )
    assert rows == [{"time": 7, "open": "5", "high": "5", "low": "4", "close": "4", "volume": "4"}]
