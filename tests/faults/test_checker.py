"""The judge finds what it must find: each kind of lie is planted and has to be reported."""

import copy
from collections.abc import Callable, Iterator

import psycopg
import pytest
import redis

from ops.faulting.checker import Verdict, check, epoch_problems
from ops.faulting.history import History, OrderAsked
from ops.faulting.reference import priority_problems
from tests.exchange import Exchange, running
from workers.core.rebuild import LoggedEvent


@pytest.fixture(scope="module")
def story(
    postgres_url: str, redis_server_url: str, migrated_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, History]]:  # fmt: skip
    """A database and the true history of its few orders."""
    from tests import servers

    with redis.from_url(redis_server_url) as server:
        server.flushall()  # what is published there is of other databases, and later epochs
    with (
        servers.fresh_database(postgres_url, migrated_database) as url,
        running(url, redis_server_url, tmp_path_factory.mktemp("story")) as exchange,
    ):
        history = History()
        submit(exchange, history, "sell", 100, 5)
        submit(exchange, history, "sell", 100, 4)
        submit(exchange, history, "buy", 100, 6)
        submit(exchange, history, "buy", 90, 3)
        yield url, history


def submit(exchange: Exchange, history: History, side: str, price: int, quantity: int) -> None:
    n = len(history.orders)
    order = OrderAsked(
        f"o{n}", f"k{n}", f"c{n}", "BTC-USD", side, "limit", price, quantity, invoked=n
    )
    with exchange.client() as client:
        answer = client.post("/orders", order.body())
    assert answer.status == 201
    told = answer.json["order"]
    order.state, order.completed = "ok", n + 0.5
    order.order_no, order.acked_id = told["order_no"], told["order_id"]
    order.status, order.filled = told["status"], told["filled_quantity"]
    order.trades = [(t["trade_no"], t["price"], t["quantity"]) for t in answer.json["trades"]]
    history.orders.append(order)


def test_the_truth_passes(story: tuple[str, History]) -> None:
    verdict = check(*story)
    assert verdict.problems == []
    assert (verdict.stored, verdict.trades) == (4, 2)


def invented(history: History) -> None:
    order = copy.copy(history.orders[0])
    order.order_id, order.key, order.acked_id = "o9", "k9", "o9"
    history.orders.append(order)


# What is changed in the history, and how the report must begin.
LIES: dict[str, tuple[Callable[[History], object], str]] = {
    "lost": (invented, "I1 order o9 is not stored"),
    "other price": (lambda h: setattr(h.orders[0], "price", 99), "I1 order o0 has other terms"),
    "other number": (lambda h: setattr(h.orders[0], "order_no", 9), "I1 order o0 has other terms"),
    "fewer fills": (lambda h: setattr(h.orders[0], "filled", 6), "I1 order o0 was"),
    "other trade": (lambda h: h.orders[2].trades.append((7, 1, 1)), "I1 trade BTC-USD 7"),
    "two under one key": (lambda h: setattr(h.orders[0], "order_id", "o1"), "I2 one order"),
    "never asked for": (lambda h: h.orders.pop(), "I2 order o3 was never asked for"),
    "overtaken": (lambda h: setattr(h.orders[3], "completed", -1), "I9 order o0 was sent after"),
    "refused but stored": (lambda h: setattr(h.orders[1], "state", "refused"), "I11 ['o1']"),
    "unknown for ever": (lambda h: setattr(h.orders[1], "state", "unknown"), "I11 {"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(story: tuple[str, History], lie: str) -> None:
    url, truth = story
    history = copy.deepcopy(truth)
    change, report = LIES[lie]
    change(history)
    if lie == "two under one key":
        history.orders[0].key = "k0"
    verdict = check(url, history)
    assert any(problem.startswith(report) for problem in verdict.problems), verdict.problems
    assert bool(verdict.lost) == report.startswith("I1 ")
    assert bool(verdict.duplicated) == report.startswith("I2 ")


def test_a_database_that_lies_is_found(story: tuple[str, History]) -> None:
    url, history = story
    with psycopg.connect(url, autocommit=True) as connection:
        change = "UPDATE exchange.balances SET posted = posted + {} WHERE asset_id = 1"
        connection.execute(change.format(1))
        try:
            verdict: Verdict = check(url, history)
        finally:
            connection.execute(change.format(-1))
    assert any("balances" in problem for problem in verdict.problems)


def event(
    sequence: int,
    kind: str,
    order_no: int,
    side: str,
    price: int,
    lots: int,
    maker: int | None = None,
) -> LoggedEvent:
    return LoggedEvent(
        sequence,
        kind,
        order_no,
        side,
        "limit",
        price,
        lots,
        1 if maker else None,
        maker,  # type: ignore[arg-type]
    )


FIRST_COMES_FIRST = [
    event(1, "accepted", 1, "sell", 100, 5),
    event(2, "accepted", 2, "sell", 100, 5),
    event(3, "accepted", 3, "buy", 100, 5),
    event(4, "trade", 3, "buy", 100, 5, maker=1),
]


def test_price_and_time() -> None:
    assert priority_problems(FIRST_COMES_FIRST) == []
    wrong = [*FIRST_COMES_FIRST[:3], event(4, "trade", 3, "buy", 100, 5, maker=2)]
    assert priority_problems(wrong)
    assert priority_problems(FIRST_COMES_FIRST[:3])
    assert priority_problems([*FIRST_COMES_FIRST, event(5, "cancelled", 1, "sell", 100, 5)])
    assert not priority_problems([*FIRST_COMES_FIRST, event(5, "cancelled", 2, "sell", 100, 5)])


def test_epochs() -> None:
    assert epoch_problems([("a", 1), ("b", 3), ("a", 2), ("a", 2), ("b", 3)]) == []
    assert epoch_problems([("a", 2), ("a", 1)]) == ["I10 a: epoch 1 after 2"]
