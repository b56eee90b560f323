"""Trading with the page, in a real browser."""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.browser_page import BrowserPage
from tests.exchange import Client, Exchange, eventually

Opener = Callable[..., BrowserPage]


@pytest.fixture
def client(exchange: Exchange) -> Iterator[Client]:
    """A client of the API; what rests is cancelled in the end."""
    with exchange.client() as client:
        yield client
    with exchange.client() as client:
        while orders := client.get("/orders?status=open,partially_filled").json["orders"]:
            for order in orders:
                client.post(f"/orders/{order['order_id']}/cancel")


@pytest.fixture
def page(client: Client, open_page: Opener) -> BrowserPage:
    """The trading page, of a client of its own."""
    page = open_page()
    page.is_live()
    return page


def fill_in(page: BrowserPage, side: str, quantity: str, price: str | None) -> None:
    page.page.locator(f"input[name=side][value={side}]").check()
    kind = "market" if price is None else "limit"
    page.page.locator(f"input[name=type][value={kind}]").check()
    if price is not None:
        page.page.fill("#price", price)
    page.page.fill("#quantity", quantity)


def send(page: BrowserPage, side: str, quantity: str, price: str | None = None) -> None:
    fill_in(page, side, quantity, price)
    page.page.click("#submit")


def level(page: BrowserPage, side: str, number: int = 0) -> list[str]:
    """Return the texts of a level of the ladder, best first."""
    rows = page.page.locator(f".{side} .level:not([data-empty])").all_inner_texts()
    ordered = rows[::-1] if side == "asks" else rows
    return ordered[number].split() if number < len(ordered) else []


def test_an_order_is_placed_seen_and_cancelled(page: BrowserPage, client: Client) -> None:
    send(page, "buy", "0.5", "100.25")
    page.shows("#outcome", "0.50 rests at 100.25")
    page.shows("#orders-count", "1")
    eventually(lambda: level(page, "bids") == ["100.25", "0.50", "0.50"], "the level in the ladder")
    assert page.page.locator(".bids .level[data-mine]").count() == 1
    book = client.get("/market/orderbook").json
    assert book["bids"] == [{"price": 100.25, "quantity": 0.5, "cumulative": 0.5}]

    page.page.click("#orders-rows button")
    page.shows("#orders-count", "0")
    eventually(lambda: level(page, "bids") == [], "an empty ladder")
    assert client.get("/market/orderbook").json["bids"] == []


def test_a_fill_is_seen_everywhere(page: BrowserPage, client: Client) -> None:
    client.order("sell", "0.3", "100.5", client_id="maker")
    client.order("sell", "0.4", "100.75", client_id="maker")
    fill_in(page, "buy", "0.5", "100.75")
    page.shows("#order-average", "100.60")  # 0.3 at 100.5 and 0.2 at 100.75
    assert page.text("#order-value") == "50.30"
    page.page.click("#submit")
    page.shows("#outcome", "Bought 0.50 at 100.60")
    page.shows("#tape tbody tr:first-child", "100.75")
    page.shows("#last", "100.75")
    eventually(
        lambda: level(page, "asks") == ["100.75", "0.20", "0.20"], "what is left of the asks"
    )
    page.page.click("#tab-fills")
    eventually(lambda: page.page.locator("#fills-rows tr").count() == 2, "both fills")
    assert page.page.locator("#fills-rows tr").first.inner_text().split()[1:] == [
        "Buy", "100.75", "0.20", "20.15", "taker",
    ]  # fmt: skip
    page.page.click("#tab-positions")
    page.shows("#positions-rows", "BTC-USD")
    cells = page.page.locator("#positions-rows tr").inner_text().split()
    assert cells[:3] == ["BTC-USD", "0.50", "100.60"]


def test_a_resting_order_of_ours_is_filled_by_somebody_else(
    page: BrowserPage, client: Client
) -> None:
    send(page, "sell", "0.5", "200")
    page.shows("#orders-count", "1")
    client.order("buy", "0.2", "200", client_id="taker")
    page.shows("#orders-rows", "0.20")
    page.page.click("#tab-fills")
    page.shows("#fills-rows", "maker")
    client.order("buy", "0.3", "200", client_id="taker")
    page.shows("#orders-count", "0")
    eventually(lambda: page.page.locator("#fills-rows tr").count() == 2, "both fills")


def test_a_page_that_is_opened_again_knows_what_was(page: BrowserPage, client: Client) -> None:
    send(page, "sell", "0.5", "300")
    page.shows("#orders-count", "1")
    client.order("buy", "0.2", "300", client_id="taker")
    page.shows("#orders-rows", "0.20")
    page.page.reload()
    page.is_live()
    page.shows("#orders-count", "1")
    page.page.click("#tab-fills")
    page.shows("#fills-rows", "maker")
    page.page.click("#tab-positions")
    page.shows("#positions-rows", "-0.20")


@pytest.mark.parametrize(
    ("quantity", "price", "refusal", "field"),
    [
        ("", "100", "Quantity is missing.", "quantity"),
        ("0", "100", "Quantity must be greater than zero.", "quantity"),
        ("1,5", "100", "Quantity must be digits with a point", "quantity"),
        ("0.000000001", "100", "Quantity has more than 8 decimals.", "quantity"),
        ("1", "-5", "Price must be greater than zero.", "price"),
        ("1", "1e3", "Price must be digits with a point", "price"),
        ("1", "1234567890123", "Price is too large.", "price"),
    ],
)
def test_what_cannot_be_an_order_is_refused_before_it_is_sent(
    page: BrowserPage, quantity: str, price: str, refusal: str, field: str
) -> None:
    sent: list[str] = []
    page.page.on("request", lambda request: sent.append(request.method))
    send(page, "buy", quantity, price)
    page.shows("#refusal", refusal)
    assert page.page.locator(f"#{field}").get_attribute("aria-invalid") == "true"
    assert page.page.evaluate("document.activeElement.id") == field
    assert "POST" not in sent


def test_what_the_exchange_refuses_is_said(page: BrowserPage) -> None:
    send(page, "buy", "1")
    page.shows("#refusal", "Rejected: nobody is on the other side of the book")
    page.page.fill("#client", "not allowed!")
    page.page.press("#client", "Tab")
    assert page.page.locator("#client").get_attribute("aria-invalid") == "true"
    page.server_may_be_gone = True  # the browser itself complains about the 503
    page.page.route(
        "**/orders",
        lambda route: route.fulfill(
            status=503,
            content_type="application/json",
            body='{"error":"overloaded","message":"too many orders wait: try again"}',
        ),
    )
    send(page, "buy", "1", "100")
    page.shows("#refusal", "Refused: too many orders wait: try again.")


def test_an_order_whose_answer_is_lost_has_one_effect(page: BrowserPage, client: Client) -> None:
    page.server_may_be_gone = True
    lost: list[str] = []

    def lose(route: object) -> None:
        """Let the first order arrive, and its answer never."""
        if lost:
            route.continue_()  # type: ignore[attr-defined]
            return
        lost.append(route.fetch().text())  # type: ignore[attr-defined]
        route.abort()  # type: ignore[attr-defined]

    page.page.route("**/orders", lose)
    send(page, "buy", "0.7", "90")
    page.shows("#outcome", "0.70 rests at 90.00")
    assert len(lost) == 1
    orders = client.get("/orders?status=open").json["orders"]
    assert [(order["price"], order["quantity"]) for order in orders] == [(90, 0.7)]


def test_the_keyboard_is_enough(page: BrowserPage, client: Client) -> None:
    client.order("sell", "0.3", "110.5", client_id="maker")
    client.order("buy", "0.3", "109.5", client_id="maker")
    eventually(lambda: level(page, "bids") and level(page, "asks"), "both sides")
    keyboard = page.page.keyboard
    page.page.locator(".bids .level").first.focus()
    keyboard.press("ArrowUp")
    keyboard.press("Enter")
    assert page.page.input_value("#price") == "110.5"
    page.page.focus("#quantity")
    keyboard.type("0.1")
    keyboard.press("ArrowUp")
    assert page.page.input_value("#quantity") == "0.11"
    keyboard.press("Enter")
    page.shows("#outcome", "Bought 0.11 at 110.50")
    page.page.focus("#tab-orders")
    keyboard.press("ArrowRight")
    page.shows("#fills-rows", "110.50")


def test_helpers_take_what_the_book_and_the_position_say(page: BrowserPage, client: Client) -> None:
    client.order("sell", "0.3", "100.5", client_id="maker")
    client.order("buy", "0.4", "100", client_id="maker")
    eventually(lambda: level(page, "bids") and level(page, "asks"), "both sides")
    for helper, price in (("bid", "100"), ("middle", "100.25"), ("ask", "100.5")):
        page.page.click(f"[data-help={helper}]")
        assert page.page.input_value("#price") == price
    page.page.click("[data-help=best]")
    assert page.page.input_value("#quantity") == "0.3"
    page.page.click("[data-help=half]")
    assert page.page.input_value("#quantity") == "0.15"
    page.page.click("[data-help=double]")
    page.page.click("#submit")
    page.shows("#outcome", "Bought 0.30 at 100.50")
    page.page.click("#tab-positions")
    page.shows("#positions-rows", "0.30")
    page.page.click("[data-help=close]")
    assert page.page.locator("input[name=side][value=sell]").is_checked()
    assert page.page.input_value("#quantity") == "0.3"


def test_another_instrument_is_shown_as_a_whole(page: BrowserPage, client: Client) -> None:
    client.order("sell", "2", "3500.5", client_id="maker", instrument="ETH-USD")
    client.order("buy", "1", "3500.5", client_id="taker", instrument="ETH-USD")
    client.order("sell", "0.3", "100.5", client_id="maker")
    eventually(lambda: level(page, "asks") == ["100.50", "0.30", "0.30"], "an ask")
    page.page.select_option("#instrument", "ETH-USD")
    eventually(lambda: level(page, "asks") == ["3,500.50", "1.00", "1.00"], "the other's ask")
    page.shows("#last", "3,500.50")
    page.shows("#submit", "Buy ETH")
    # What happens to the first one is not shown any more.
    client.order("buy", "0.1", "100.5", client_id="taker")
    client.order("sell", "3", "3600", client_id="maker", instrument="ETH-USD")
    eventually(lambda: level(page, "asks", 1) == ["3,600.00", "3.00", "4.00"], "a second ask")
    assert level(page, "asks") == ["3,500.50", "1.00", "1.00"]
    page.page.reload()
    page.is_live()
    page.shows("#last", "3,500.50")


def test_the_server_is_killed_and_comes_back(
    page: BrowserPage, client: Client, exchange: Exchange
) -> None:
    client.order("sell", "0.3", "100.5", client_id="maker")
    eventually(lambda: level(page, "asks") == ["100.50", "0.30", "0.30"], "an ask")
    send(page, "buy", "0.5", "99")
    page.shows("#orders-count", "1")
    page.server_may_be_gone = True
    web = exchange.processes[1]
    web.send_signal(signal.SIGKILL)
    web.wait()
    page.shows("#connection-state", "Reconnecting")
    exchange.processes[1] = exchange.web()
    exchange.processes.pop()
    exchange.wait_ready()
    # Somebody trades before the page is back: it must not miss that.
    with exchange.client() as other:
        other.order("buy", "0.1", "100.5", client_id="taker")
        other.order("sell", "0.2", "99", client_id="taker")
        page.is_live()
        eventually(lambda: level(page, "asks") == ["100.50", "0.20", "0.20"], "what is left")
        page.shows("#orders-rows", "0.20")
        page.page.click("#tab-fills")
        page.shows("#fills-rows", "maker")
        page.shows("#tape tbody tr:first-child", "99.00")
        # And it goes on.
        other.order("buy", "0.2", "100.5", client_id="taker")
    eventually(lambda: level(page, "asks") == [], "no more asks")
    send(page, "buy", "0.5", "98")
    page.shows("#outcome", "0.50 rests at 98.00")
