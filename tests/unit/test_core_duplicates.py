"""A repeat, or another request under a name that is taken."""

import pytest

from tests.builders import submit
from workers.core.duplicates import FirstOrder, first_order, judge
from workers.core.messages import SubmitOrder


def order(**changes: object) -> SubmitOrder:
    return submit("b1", "buy", 5, 100, idempotency_key="k1")._replace(**changes)


def keyless(**changes: object) -> SubmitOrder:
    return order(idempotency_key="")._replace(**changes)


def unnamed(order_id: str, **changes: object) -> SubmitOrder:
    """Return an order whose order_id the edge made up."""
    return order(order_id=order_id, order_id_given=False)._replace(**changes)


LATER = {"time_us": 9, "deadline_us": 10}

# (what it shows, first command, second command, verdict)
VERDICTS = [
    ("the same request", order(), order(), "duplicate"),
    ("the same request, later", order(), order(**LATER), "duplicate"),
    ("the same market order", order(type="market", price_ticks=0),
     order(type="market", price_ticks=0), "duplicate"),
    # Found by order_id.
    ("same order_id, no keys", keyless(), keyless(), "duplicate"),
    ("same order_id, the repeat has no key", order(), keyless(), "duplicate"),
    ("same order_id, only the repeat has a key", keyless(), order(), "duplicate"),
    ("same order_id, another key", order(), order(idempotency_key="k2"), "conflict"),
    # Found by key.
    ("same key, order_ids made up", unnamed("u1"), unnamed("u2"), "duplicate"),
    ("same key, the repeat names no order_id", order(), unnamed("u2"), "duplicate"),
    ("same key, the repeat names another order_id", order(), order(order_id="b2"), "conflict"),
    ("same key, the repeat names an order_id at last", unnamed("u1"), order(), "conflict"),
    ("same key, the repeat names the made-up order_id", unnamed("u1"),
     order(order_id="u1"), "duplicate"),
    # Under the same names, other terms.
    ("another client", keyless(), keyless(client_id="bob"), "conflict"),
    ("another side", order(), order(side="sell"), "conflict"),
    ("another type", order(), order(type="market", price_ticks=0), "conflict"),
    ("another price", order(), order(price_ticks=101), "conflict"),
    ("another quantity", order(), order(quantity_lots=6), "conflict"),
    ("same key, other terms, order_ids made up", unnamed("u1"),
     unnamed("u2", quantity_lots=6), "conflict"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "verdict"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS]
)
def test_judge(first: SubmitOrder, second: SubmitOrder, verdict: str) -> None:
    assert judge("BTC-USD", second, first_order("BTC-USD", first)) == verdict


def test_an_order_id_is_unique_across_instruments() -> None:
    assert judge("ETH-USD", keyless(), first_order("BTC-USD", keyless())) == "conflict"


def test_the_terms_are_those_of_the_command() -> None:
    assert first_order("BTC-USD", order()) == FirstOrder(
        "b1", "alice", "BTC-USD", "buy", "limit", 100, 5, "k1"
    )
