"""The API about itself, as a browser and a client see it."""

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


def test_the_index_sends_browsers_to_the_page(client: Client) -> None:
    index = client.get("/")
    assert index.status == 200
    assert index.json["links"]["docs"] == "/docs"
    browser = client.request("GET", "/", headers={"Accept": "text/html,application/xhtml+xml"})
    assert (browser.status, browser.headers["location"]) == (302, "/docs")
    assert index.headers["vary"] == browser.headers["vary"] == "Accept"


def test_both_documents_are_there(client: Client) -> None:
    assert client.get("/openapi.json").json["openapi"] == "3.1.0"
    assert client.get("/asyncapi.json").json["asyncapi"] == "3.0.0"


def test_the_page_needs_nothing_from_elsewhere(client: Client) -> None:
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
