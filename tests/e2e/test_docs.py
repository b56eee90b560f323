"""The API about itself, as a browser and a client see it."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exchange import Client, Exchange, running


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@pytest.fixture
def client(exchange: Exchange) -> Iterator[Client]:
    with exchange.client() as client:
        yield client


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.9", False),
        ("text/*", False),
        ("nonsense", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
    ],
)
def test_the_index_is_a_page_for_browsers_alone(
    client: Client, accept: str | None, is_page: bool
) -> None:
    index = client.request("GET", "/", headers={} if accept is None else {"Accept": accept})
    assert index.status == 200
    assert "Accept" in index.headers["vary"]
    if is_page:
        assert index.headers["content-type"] == "text/html; charset=utf-8"
    else:
        assert index.json["links"]["docs"] == "/docs"


def test_both_documents_are_there(client: Client) -> None:
    assert client.get("/openapi.json").json["openapi"] == "3.1.0"
    assert client.get("/asyncapi.json").json["asyncapi"] == "3.0.0"


@pytest.mark.parametrize("path", ["/", "/status"])
def test_pages_need_nothing_from_elsewhere(client: Client, path: str) -> None:
    page = client.request("GET", path, headers={"Accept": "text/html"})
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = page.raw.decode()
    assert "$" not in text  # every place of the template is filled
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\son[a-z]+=|\sstyle=|javascript:", text)
    # A link that the chart library's licence asks for, and nothing that is loaded.
    assert set(re.findall(r"https?://[^\s\"<]+", text)) <= {"https://www.tradingview.com/"}
    assert not re.search(r"""(?:src|<link[^>]*href)=["']https?:""", text)
    files = {link for link in re.findall(r'(?:src|href)="(/[^"]+)"', text) if "/static/" in link}
    assert len(files) >= 4
    types = {
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
    }
    for link in files:
        file = client.get(link)
        assert file.status == 200, link
        assert file.headers["content-type"] == types[Path(link).suffix], link
        assert file.headers["x-content-type-options"] == "nosniff"
        assert "immutable" in file.headers["cache-control"]
        # Who has it is told so, and who can read it compressed gets it so.
        again = client.request("GET", link, headers={"If-None-Match": file.headers["etag"]})
        assert (again.status, again.raw) == (304, b"")
        small = client.request("GET", link, headers={"Accept-Encoding": "br, gzip"})
        if small.headers.get("content-encoding") == "gzip":
            assert gzip.decompress(small.raw) == file.raw
        else:
            assert small.raw == file.raw
    # The page itself is asked for again each time: it names the files that go with it.
    assert page.headers["cache-control"] == "no-cache"
    known = {"Accept": "text/html", "If-None-Match": f'"another", {page.headers["etag"]}'}
    assert client.request("GET", path, headers=known).status == 304


def test_the_licence_of_the_charts_is_there(client: Client) -> None:
    page = client.request("GET", "/", headers={"Accept": "text/html"}).raw.decode()
    base = re.findall(r'src="(/static/[^/]+)/trade/main.js"', page)[0]
    for name in ("LICENSE", "NOTICE", "lightweight-charts.standalone.production.mjs"):
        assert client.get(f"{base}/lightweight-charts/{name}").status == 200
    # Its words stand in the page.
    product, owner, *_ = client.get(f"{base}/lightweight-charts/NOTICE").raw.decode().split("\n")
    assert product in page
    assert all(word in page for word in owner.split())


def test_the_page_of_the_api_needs_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/docs")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = page.raw.decode()
    assert "$" not in text  # every place of the template is filled
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son[a-z]+=|javascript:|https?://", text)
    links = set(re.findall(r'(?:src|href)="(/[^"]+)"', text))
    assert len(links) >= 7
    types = {
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".png": "image/png",
        ".json": "application/json",
    }
    for link in links:
        file = client.get(link)
        assert file.status == 200, link
        assert file.headers["content-type"] == types[Path(link).suffix], link
        assert file.headers["x-content-type-options"] == "nosniff"
        assert ("immutable" in file.headers["cache-control"]) == ("swagger-ui-" in link)


@pytest.mark.parametrize(
    "path",
    [
        "/docs/static/none.js", "/docs/static/docs.html", "/docs/static/..%2fapp.py",
        "/docs/static/..", "/docs/swagger-ui/LICENSE", "/docs/static/swagger-ui/LICENSE",
        "/static/none/trade/main.js", "/static/none/..%2f..%2fapp.py", "/static/trade/main.js",
    ],
)  # fmt: skip
def test_nothing_else_is_served(client: Client, path: str) -> None:
    assert client.get(path).status == 404


def test_a_405_says_what_is_allowed(client: Client) -> None:
    for path, methods in (("/orders/order-1", {"GET", "DELETE"}), ("/docs", {"GET"})):
        answer = client.request("PUT", path)
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) == methods


def test_a_parameter_without_a_value_is_refused(client: Client) -> None:
    for query, status in (("levels=", 400), ("levels", 400), ("", 200)):
        answer = client.get(f"/market/orderbook?{query}")
        assert answer.status == status, query
        if status == 400:
            assert answer.json["errors"] == [
                {"msg": "must not be empty", "param": "levels", "location": "query"}
            ]


def test_an_order_id_in_a_path_may_be_escaped(client: Client) -> None:
    client.order("buy", 1, 10, order_id="a:b")
    assert client.get("/orders/a%3Ab").json["order"]["order_id"] == "a:b"
    assert client.get("/orders/a%2Fb").status == 400
    assert client.post("/orders/a%3Ab/cancel").status == 200
    assert client.request("DELETE", "/orders/a%3Ab").status == 409
