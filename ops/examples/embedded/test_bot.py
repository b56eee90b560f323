"""The fixture `exchange` comes with the package: a whole exchange, started once for all tests."""

import json
import urllib.request

from bot import Bot

from ops.testing import RunningExchange


def test_the_bot_quotes_both_sides(exchange: RunningExchange) -> None:
    bid, ask = Bot(exchange.url, "bot").quote(price=2000, spread=1, quantity=3)
    assert (bid["price"], ask["price"]) == (1999, 2001)
    with urllib.request.urlopen(f"{exchange.url}/market/orderbook?instrument=ETH-USD") as answer:
        book = json.load(answer)
    assert book["bids"][0]["price"] == 1999
    assert book["asks"][0]["quantity"] == 3


def test_somebody_takes_its_offer(exchange: RunningExchange) -> None:
    order = Bot(exchange.url, "somebody").order("buy", price=2001, quantity=1)
    assert order["status"] == "filled"
    assert order["average_price"] == 2001
