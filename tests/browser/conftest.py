"""A real browser, an exchange to look at, and pages whose every complaint is noticed."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.browser_page import BrowserPage
from tests.exchange import Exchange, running

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
Opener = Callable[..., BrowserPage]


# Not for the session: playwright runs an event loop as long as it lives, and no other may run then.
@pytest.fixture(scope="module")
def chromium() -> Iterator["sync_api.Browser"]:
    """A headless Chromium."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium here: install Debian's package `chromium`, or set CHROMIUM")
    # Its sandbox refuses to be root's.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def exchange(
    postgres_url: str,
    migrated_database: str,
    redis_server_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Exchange]:
    """An exchange that the tests of a module share."""
    with redis.Redis.from_url(redis_server_url) as client:
        client.flushdb()
    folder: Path = tmp_path_factory.mktemp("exchange")
    with (
        servers.fresh_database(postgres_url, migrated_database) as database_url,
        running(
            database_url,
            redis_server_url,
            folder,
            # As behind one port: what the matcher counts is at the web process's /metrics.
            PROMETHEUS_MULTIPROC_DIR=str(folder / "metrics"),
        ) as exchange,
    ):
        yield exchange


@pytest.fixture
def open_page(chromium: "sync_api.Browser", exchange: Exchange) -> Iterator[Opener]:
    """Open pages of the exchange; when the test ends, nothing may have been complained about."""
    opened: list[BrowserPage] = []

    def open_(path: str = "/", **options: object) -> BrowserPage:
        context = chromium.new_context(
            **{"viewport": {"width": 1440, "height": 900}, **options},  # type: ignore[arg-type]
        )
        page = BrowserPage(context, f"http://127.0.0.1:{exchange.port}")
        opened.append(page)
        page.goto(path)
        return page

    yield open_
    for page in opened:
        page.close()
    complaints = [complaint for page in opened for complaint in page.complaints]
    assert complaints == []
