"""The trading page's copy of the market, in a real browser, against the API's."""

import json
import random
from collections.abc import Callable
from typing import Any

from tests.browser_page import BrowserPage
from tests.exchange import Client, Exchange, eventually

UPDATES = 10_000
BATCH = 100

Opener = Callable[..., BrowserPage]

SIDES = """((side) => [...side.levels()].map(([price, quantity]) => [price, quantity]))"""


def random_orders(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Return orders of a market that trades: some with as many digits as there may be."""
    orders = []
    for _ in range(count):
        market = chance.random() < 0.2
        digits = chance.choice((1, 1, 1, 8))
        order = {
            "client_id": f"client-{chance.randrange(5)}",
            "side": chance.choice(("buy", "sell")),
            "type": "market" if market else "limit",
            "quantity": f"{chance.uniform(0.01, 3):.{digits + 1 if digits < 8 else 8}f}",
        }
        if not market:
            order["price"] = f"{chance.gauss(70_000, 40):.{digits}f}"
        orders.append(order)
    return orders


def submit(client: Client, orders: list[dict[str, Any]]) -> None:
    for start in range(0, len(orders), BATCH):
        answer = client.post("/orders/batch", {"orders": orders[start : start + BATCH]})
        assert {result["status"] for result in answer.json["results"]} == {201}


def units(text: str) -> str:
    """Return a decimal number's units of 1e-8, as text."""
    whole, _, fraction = text.partition(".")
    return str(int(whole + fraction.ljust(8, "0")))


def stored(client: Client) -> dict[str, Any]:
    """Return the API's whole book, its numbers as units."""
    raw = client.post("/market/orderbook/snapshot").raw
    body = json.loads(raw, parse_float=units, parse_int=units)
    return {
        "sequence": str(int(body["sequence"]) // 10**8),
        **{
            side: [[level["price"], level["quantity"]] for level in body["snapshot"][side]]
            for side in ("bids", "asks")
        },
    }


def shown(page: BrowserPage) -> dict[str, Any]:
    """Return the page's whole book."""
    result: dict[str, Any] = page.module(
        "trade/main.js",
        "((book) => ({sequence: book.sequence, "
        f"bids: {SIDES}(book.bids), asks: {SIDES}(book.asks)}}))(exports.market.book)",
    )
    return result


def catch_up(page: BrowserPage, client: Client) -> dict[str, Any]:
    """Wait until the page is at the API's sequence, and return the API's book."""
    book = stored(client)
    eventually(lambda: page.market("book.sequence") == book["sequence"], "the same sequence")
    return book


def test_the_pages_book_is_the_apis_after_ten_thousand_updates(
    open_page: Opener, exchange: Exchange
) -> None:
    page = open_page()
    page.is_live()
    with exchange.client() as client:
        submit(client, random_orders(random.Random(11), UPDATES))
        book = catch_up(page, client)
        assert int(book["sequence"]) >= UPDATES
        assert min(len(book["bids"]), len(book["asks"])) > 20
        assert shown(page) == book
        assert page.market("gaps") == 0
        # What is drawn is the top of it, sums included.
        rows = client.get("/market/orderbook?levels=1").json
        best = page.page.locator(".bids .level").first.inner_text().replace(",", "").split()
        expected = [rows["bids"][0][name] for name in ("price", "quantity", "cumulative")]
        assert [float(cell) for cell in best] == expected
        # So are the newest trades.
        trades = client.get("/market/trades?limit=10").json["trades"]
        known = page.market("trades.slice(-10).map((trade) => trade.id)")
        assert known[::-1] == [trade["trade_id"] for trade in trades]


def test_a_gap_is_noticed_and_healed(open_page: Opener, exchange: Exchange) -> None:
    page = open_page()
    page.is_live()
    with exchange.client() as client:
        submit(client, random_orders(random.Random(12), 200))
        catch_up(page, client)
        page.market("book.sequence = '1'")  # as if everything since had been lost
        submit(client, random_orders(random.Random(13), 200))
        book = catch_up(page, client)
        assert page.market("gaps") == 1
        assert shown(page) == book


def test_what_was_missed_is_read_again(open_page: Opener, exchange: Exchange) -> None:
    """Who is too slow gets a resync: then orders and candles are asked for anew."""
    page = open_page()
    page.is_live()
    with exchange.client() as client:
        submit(client, random_orders(random.Random(15), 100))
        book = catch_up(page, client)
        newest = client.get("/market/trades?limit=1").json["trades"][0]
    sequence = str(int(book["sequence"]) + 5)
    text = {name: value if isinstance(value, str) else str(value) for name, value in newest.items()}
    trade = text | {"sequence": sequence, "trade_id": "made-up"}
    page.page.locator("input[name=interval][value='1m']").check()
    with (
        page.page.expect_request(lambda request: "/orders?" in request.url),
        page.page.expect_request(lambda request: "/market/candles?" in request.url),
    ):
        page.module(
            "trade/main.js",
            """exports.market.take({ type: "resync", channel: "trades:BTC-USD",
                data: { sequence: given.sequence, trades: [given] } })""",
            trade,
        )
    assert page.market("last.id") == "made-up"


def test_a_page_that_is_behind_draws_once_a_frame(open_page: Opener, exchange: Exchange) -> None:
    """However many messages come at once, the document is written once."""
    page = open_page()
    page.is_live()
    with exchange.client() as client:
        submit(client, random_orders(random.Random(14), 100))
        catch_up(page, client)
    draws = page.module(
        "trade/main.js",
        """await (async () => {
            const { market } = exports;
            const box = document.querySelector(".bids");
            let draws = 0;
            // Told after each task in which anything changed.
            new MutationObserver(() => (draws += 1)).observe(
                box, { subtree: true, characterData: true, childList: true });
            for (let n = 0; n < 5_000; n += 1) {
                const sequence = String(BigInt(market.book.sequence) + 1n);
                market.take({ type: "orderbook", channel: "orderbook:BTC-USD", data: {
                    snapshot: false, prev_sequence: market.book.sequence, sequence,
                    bids: [{ price: "69000", quantity: String(n + 1) }], asks: [] } });
                if (n % 100 === 0) await null; // a task's end, where nothing may be drawn
            }
            await new Promise((resolve) =>
                requestAnimationFrame(() => requestAnimationFrame(resolve)));
            return [draws, exports.market.book.bids.quantityAt(6_900_000_000_000n)];
        })()""",
    )
    assert draws[1] == str(5_000 * 10**8)
    assert draws[0] <= 3
    # Put right what was made up.
    page.page.reload()
    page.is_live()
