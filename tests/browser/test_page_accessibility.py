"""Whether everybody can use the pages: axe's checks, and what it cannot see."""

from collections.abc import Callable

import pytest

from tests.browser_page import BrowserPage
from tests.exchange import Exchange, eventually

Opener = Callable[..., BrowserPage]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def trade(exchange: Exchange, client_id: str) -> None:
    """Fill the page: a book, trades, a resting order and a position of one client."""
    with exchange.client() as client:
        for number in range(20):
            client.order("sell", f"0.{number + 1}", f"{101 + number}.5", client_id="maker")
            client.order("buy", f"0.{number + 1}", f"{99 - number}.5", client_id="maker")
        client.order("buy", "0.05", client_id=client_id)
        client.order("buy", "0.1", "98", client_id=client_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_the_trading_page(
    open_page: Opener, exchange: Exchange, scheme: str, options: dict[str, object]
) -> None:
    page = open_page(color_scheme=scheme, **options)
    page.is_live()
    trade(exchange, page.page.input_value("#client"))
    page.shows("#orders-rows", "Cancel")
    page.page.fill("#quantity", "0")
    page.page.locator("#submit").click()
    page.shows("#refusal", "greater than zero")
    for tab in ("fills", "positions", "orders"):
        page.page.locator(f"#tab-{tab}").click()
        eventually(lambda tab=tab: page.page.locator(f"#{tab}-rows tr").count(), f"{tab}")
        assert page.violations() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_the_status_page(
    open_page: Opener, scheme: str, options: dict[str, object]
) -> None:
    page = open_page("/status", color_scheme=scheme, **options)
    page.shows("#instruments-rows", "held")
    assert page.violations() == []


def test_the_theme_can_be_chosen_and_stays(open_page: Opener) -> None:
    page = open_page(color_scheme="light")
    background = "getComputedStyle(document.querySelector('.panel')).backgroundColor"
    assert page.page.evaluate(background) == "rgb(255, 255, 255)"
    page.page.click("#theme")
    dark = page.page.evaluate(background)
    assert dark != "rgb(255, 255, 255)"
    page.page.reload()
    assert page.page.evaluate(background) == dark
    assert page.page.get_attribute("#theme", "aria-label") == "Use the light theme"


@pytest.mark.parametrize("path", ["/", "/status"])
@pytest.mark.parametrize("width", [320, 390, 700, 820, 1100, 1440, 2200])
def test_nothing_is_wider_than_the_window(open_page: Opener, path: str, width: int) -> None:
    page = open_page(path, viewport={"width": width, "height": 900})
    if path == "/":
        page.is_live()
    else:
        page.shows("#instruments-rows", "held")
    wide = page.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
