"""The order endpoints as a client sees them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.exchange import Answer, Client, Exchange, eventually, free_port, running


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@pytest.fixture
def client(exchange: Exchange) -> Iterator[Client]:
    with exchange.client() as client:
        yield client


def test_an_order_rests_fills_and_can_be_read_back(client: Client) -> None:
    resting = client.order("buy", 0.25, 70150.5, client_id="maker", order_id="order-1")
    assert resting.status == 201
    assert resting.json["order"]["status"] == "open"
    assert resting.json["orderbook"]["bids"] == [
        {"price": 70150.5, "quantity": 0.25, "cumulative": 0.25}
    ]

    taking = client.order("sell", 0.1, client_id="taker", order_id="order-2")
    assert taking.status == 201
    assert taking.json["order"]["status"] == "filled"
    (trade,) = taking.json["trades"]
    assert trade["price"] == 70150.5
    assert (trade["buy_order_id"], trade["sell_order_id"]) == ("order-1", "order-2")
    assert taking.json["orderbook"]["bids"][0]["quantity"] == 0.15

    read = client.get("/orders/order-1").json
    assert read["order"] | {"updated_at": ""} == {
        **resting.json["order"],
        "status": "partially_filled",
        "filled_quantity": 0.1,
        "remaining_quantity": 0.15,
        "average_price": 70150.5,
        "updated_at": "",
    }
    assert read["trades"] == [trade]
    assert client.get("/orders/order-2").json == {
        "order": taking.json["order"],
        "trades": [trade],
    }
    trades = client.get("/market/trades").json
    assert trades == {"instrument": "BTC-USD", "trades": [trade], "count": 1}


def test_a_market_order_without_liquidity_is_rejected_with_201(client: Client) -> None:
    answer = client.order("buy", 1)
    assert answer.status == 201
    order = answer.json["order"]
    assert (order["status"], order["status_reason"]) == ("rejected", "no_liquidity")
    assert client.get(f"/orders/{order['order_id']}").json["order"] == order


def test_what_remains_of_a_market_order_is_cancelled(client: Client) -> None:
    client.order("sell", 1, 10)
    order = client.order("buy", 3).json["order"]
    assert (order["status"], order["status_reason"]) == ("cancelled", "no_liquidity")
    assert (order["filled_quantity"], order["remaining_quantity"]) == (1, 2)


def test_numbers_are_exact(client: Client) -> None:
    client.order("buy", "0.1", "12345678901.12345678")
    answer = client.post(
        "/orders",
        b'{"client_id":"a","side":"buy","type":"limit","price":12345678901.12345678,'
        b'"quantity":0.2,"order_id":"exact"}',
    )
    assert answer.status == 201
    assert b'"price":12345678901.12345678,"quantity":0.3,"cumulative":0.3}' in answer.raw
    read = client.get("/orders/exact")
    assert b'"price":12345678901.12345678,' in read.raw
    book = client.get("/market/orderbook")
    assert b'"price":12345678901.12345678,"quantity":0.3,"cumulative":0.3}' in book.raw
    largest = client.order("sell", "999999999999.99999999", "999999999999.99999999")
    assert b'"quantity":999999999999.99999999,' in largest.raw


def test_cancel(client: Client) -> None:
    client.order("buy", 2, 10, order_id="it")
    client.order("sell", 0.5, 10)
    answer = client.post("/orders/it/cancel")
    assert answer.status == 200
    order = answer.json["order"]
    assert (order["status"], order["filled_quantity"]) == ("cancelled", 0.5)
    assert order["average_price"] == 10
    assert client.get("/orders/it").json["order"] == order
    assert client.get("/market/orderbook").json["bids"] == []

    again = client.post("/orders/it/cancel?instrument=BTC-USD")
    assert (again.status, again.json["error"]) == (409, "order_finished")
    assert again.json["order"] == order


def test_delete_is_cancel(client: Client) -> None:
    client.order("buy", 2, 10, order_id="it")
    assert client.request("DELETE", "/orders/it").json["order"]["status"] == "cancelled"


@pytest.mark.parametrize("query", ["", "?instrument=BTC-USD"])
def test_cancel_of_an_unknown_order(client: Client, query: str) -> None:
    answer = client.post(f"/orders/nobody/cancel{query}")
    assert (answer.status, answer.json["error"]) == (404, "not_found")


def test_cancel_in_the_wrong_instrument_leaves_the_order(client: Client) -> None:
    client.order("buy", 2, 10, order_id="it")
    assert client.post("/orders/it/cancel?instrument=ETH-USD").status == 404
    assert client.get("/orders/it").json["order"]["status"] == "open"


def test_a_repeat_gives_the_first_answer(client: Client) -> None:
    client.order("sell", 1, 10)
    first = client.order("buy", 1, 10, idempotency_key="key")
    repeat = client.order("buy", "1.0", "10.00", idempotency_key="key")
    assert (first.status, repeat.status) == (201, 200)
    assert repeat.headers["idempotent-replayed"] == "true"
    assert repeat.json["order"] == first.json["order"]
    assert repeat.json["trades"] == first.json["trades"]
    header = client.post(
        "/orders",
        {"client_id": "client-A", "side": "buy", "type": "limit", "price": 10, "quantity": 1},
        {"Idempotency-Key": "key"},
    )
    assert (header.status, header.json["order"]) == (200, first.json["order"])


@pytest.mark.parametrize(
    "other",
    [{"quantity": 2}, {"price": 11}, {"side": "sell"}, {"order_id": "mine"}],
    ids=str,
)
def test_the_same_key_with_another_body_conflicts(client: Client, other: dict[str, str]) -> None:
    body = {"side": "buy", "quantity": 1, "price": 10, "idempotency_key": "key"}
    client.order(**body)
    answer = client.order(**body | other)
    assert (answer.status, answer.json["error"]) == (409, "idempotency_conflict")


def test_the_same_key_of_another_client_or_instrument_is_another_key(client: Client) -> None:
    body = {"side": "buy", "quantity": 1, "price": 10, "idempotency_key": "key"}
    assert client.order(**body).status == 201
    assert client.order(**body, client_id="client-B").status == 201
    assert client.order(**body, instrument="ETH-USD").status == 201


def test_an_order_id_is_used_once_in_the_whole_exchange(client: Client) -> None:
    first = client.order("buy", 1, 10, order_id="mine")
    repeat = client.order("buy", 1, 10, order_id="mine")
    assert (repeat.status, repeat.json["order"]) == (200, first.json["order"])
    for other in ({"quantity": 2}, {"instrument": "ETH-USD"}, {"client_id": "client-B"}):
        body = {"side": "buy", "quantity": 1, "price": 10, "order_id": "mine"} | other
        answer = client.order(**body)
        assert (answer.status, answer.json["error"]) == (409, "order_id_conflict")


def test_the_same_request_at_once_through_two_web_processes(exchange: Exchange) -> None:
    other_port = free_port()
    exchange.web(PORT=str(other_port))
    exchange.wait_ready(other_port)
    for round in range(20):
        answers = at_once([exchange.port, other_port], f"key-{round}")
        assert sorted(answer.status for answer in answers) == [200, 201]
        assert answers[0].json["order"] == answers[1].json["order"]


def at_once(ports: list[int], key: str) -> list[Answer]:
    """Submit the same order to several ports at the same moment."""
    answers: list[Answer] = []
    barrier = threading.Barrier(len(ports))

    def submit(port: int) -> None:
        with Client(port) as client:
            barrier.wait()
            answers.append(client.order("buy", 1, 10, idempotency_key=key))

    threads = [threading.Thread(target=submit, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_sizes_follow_the_instrument(client: Client, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT exchange.add_instrument_v2('XYZ-USD', 'XYZ', 'USD', 0.05, 10)")
    eventually(
        lambda: client.order("buy", 10, 1, instrument="XYZ-USD").status == 201,
        "an instrument added while running trades",
    )
    assert client.order("buy", 20, "0.15", instrument="XYZ-USD").status == 201
    answer = client.order("buy", 15, "0.12", instrument="XYZ-USD")
    assert answer.status == 400
    assert [error["param"] for error in answer.json["errors"]] == ["price", "quantity"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("GET", "/nowhere", {}, None, 404, "not_found"),
        ("PUT", "/orders", {}, b"{}", 405, "method_not_allowed"),
        ("POST", "/orders", {"Content-Type": "text/plain"}, b"{}", 415, "unsupported_media_type"),
        ("POST", "/orders", {}, b'"' + b"x" * 17_000 + b'"', 413, "payload_too_large"),
        ("GET", "/orders/a%20b", {}, None, 400, "invalid_request"),
        ("GET", "/orders/nobody", {}, None, 404, "not_found"),
        ("GET", "/market/orderbook?instrument=NO-NE", {}, None, 404, "not_found"),
        ("GET", "/market/orderbook?levels=0", {}, None, 400, "invalid_request"),
        ("GET", "/market/orderbook?levels=101", {}, None, 400, "invalid_request"),
        ("GET", "/market/orderbook?levels=x", {}, None, 400, "invalid_request"),
        ("GET", "/market/trades?limit=1001", {}, None, 400, "invalid_request"),
        ("GET", "/market/trades?limit=%EF%BC%91", {}, None, 400, "invalid_request"),
        ("GET", "/market/trades?instrument=NO-NE", {}, None, 404, "not_found"),
    ],
)
def test_refusals_have_one_shape(
    client: Client, method: str, path: str, headers: dict[str, str], body: bytes | None,
    status: int, code: str,
) -> None:  # fmt: skip
    answer = client.request(method, path, body, headers)
    assert (answer.status, answer.json["error"]) == (status, code)
    assert answer.json["message"]
    assert answer.json["request_id"]
