"""A page in a browser: what tests ask of it, and what it complained about."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.exchange import eventually

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
# What a browser itself says of a server that is gone.
GONE = re.compile(r"net::ERR_|WebSocket connection to .* failed|status of 503")


class BrowserPage:
    """One page in a context of its own."""

    def __init__(self, context: "BrowserContext", base: str) -> None:
        self._context = context
        self._base = base
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        # Errors and warnings of the console, exceptions, and requests to anywhere else.
        self.complaints: list[str] = []
        self.server_may_be_gone = False
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._request(request.url))

    def _console(self, message: "ConsoleMessage") -> None:
        if message.type not in ("error", "warning"):
            return
        if self.server_may_be_gone and GONE.search(message.text):
            return
        self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, url: str) -> None:
        if not url.startswith((self._base, "data:", "blob:")):
            self.complaints.append(f"asked for {url}")

    def goto(self, path: str) -> None:
        """Open a path of the exchange."""
        self.page.goto(self._base + path)

    def close(self) -> None:
        self._context.close()

    def text(self, selector: str) -> str:
        """Return an element's text as it is now."""
        return self.page.locator(selector).inner_text()

    def shows(self, selector: str, text: str) -> None:
        """Wait until an element's text contains `text`."""
        try:
            self.page.wait_for_function(
                """([selector, text]) =>
                    document.querySelector(selector)?.textContent.includes(text)""",
                arg=[selector, text],
            )
        except Exception as error:
            shown = self.page.locator(selector).all_text_contents()
            raise AssertionError(f"{selector} shows {shown}, not {text!r}") from error

    def is_live(self) -> None:
        """Wait until the stream is connected and the book is there."""
        self.shows("#connection-state", "Live")
        eventually(lambda: self.market("book.sequence") is not None, "a book on the page")

    def market(self, expression: str) -> Any:
        """Return something of what the trading page knows of its instrument; BigInts as text."""
        return self.module("trade/main.js", f"exports.market.{expression}")

    def module(self, name: str, expression: str, given: Any = None) -> Any:
        """Return what an expression about `exports` of one of the page's own modules, and about
        `given`, gives.
        """
        return self.page.evaluate(
            """async ([name, given]) => {
                const link = document.querySelector('script[type="module"]').src;
                const exports = await import(link.replace(/[^/]+\\/[^/]+$/, "") + name);
                const plain = (_, part) => (typeof part === "bigint" ? String(part) : part);
                const text = JSON.stringify(EXPRESSION, plain);
                return text === undefined ? null : JSON.parse(text);
            }""".replace("EXPRESSION", expression),
            [name, given],
        )

    def violations(self) -> Sequence[str]:
        """Return what axe says against the page's accessibility."""
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate(
            """async () => (await axe.run(document, {
                runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
            })).violations.map(({ id, help, nodes }) =>
                `${id}: ${help}: ${nodes.map((node) => node.html + " " + node.failureSummary)}`)"""
        )
        return list(found)
