"""The status page, in a real browser."""

import signal
from collections.abc import Callable

from tests.browser_page import BrowserPage
from tests.exchange import Exchange, Load

Opener = Callable[..., BrowserPage]


def test_it_shows_what_the_exchange_does(open_page: Opener, exchange: Exchange) -> None:
    page = open_page("/status")
    page.shows("#verdict-text", "Trading, healthy")
    page.shows("#servers", "PostgreSQLanswers")
    page.shows("#servers", "Kafkadisabled")
    with Load(exchange.port, threads=2):
        page.page.wait_for_function(
            """() => [...document.querySelectorAll("#cards output")].slice(0, 5)
                .every((card) => /[1-9]/.test(card.textContent))"""
        )
        page.page.wait_for_function(
            "() => / ms/.test(document.querySelector('#stages-rows').textContent)"
        )
    row = page.page.locator("#instruments-rows tr").first.inner_text().split()
    assert row[:3] == ["BTC-USD", "held", "1"]


def test_it_says_so_when_nobody_matches(open_page: Opener, exchange: Exchange) -> None:
    page = open_page("/status")
    page.shows("#verdict-text", "Trading, healthy")
    page.server_may_be_gone = True
    exchange.processes[0].send_signal(signal.SIGTERM)
    exchange.processes[0].wait()
    page.shows("#verdict-text", "Not trading")
    page.shows("#instruments-rows", "nobody matches it")
    exchange.processes[0] = exchange.matcher()
    exchange.processes.pop()
    page.shows("#verdict-text", "Trading, healthy")
    page.shows("#instruments-rows tr:first-child td:nth-child(3)", "2")
