"""The HTTP API and the database value positions alike: one rule, from a replica and from SQL."""

from decimal import Decimal
from pathlib import Path
from random import Random

import psycopg

from tests.exchange import running

# Books with both sides, one and none; with odd middles (half of 0.00000001); without any trade.
STEPS = 60


def test_positions_are_those_of_analytics(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    random = Random(9)
    seen = set()
    with (
        running(database_url, redis_url, tmp_path) as exchange,
        exchange.client() as client,
        psycopg.connect(database_url, autocommit=True) as connection,
    ):
        for number in range(STEPS):
            who = random.choice(("ada", "bob"))
            side = random.choice(("buy", "sell"))
            price = f"100.0000000{random.randint(1, 9)}" if random.random() < 0.6 else None
            quantity = random.choice(("1", "0.5", "0.00000003"))
            order_id = f"mark-{number}"
            answer = client.order(side, quantity, price, client_id=who, order_id=order_id)
            assert answer.status == 201
            if random.random() < 0.3:
                client.post(f"/orders/{order_id}/cancel")
            for name in ("ada", "bob"):
                shown = client.get(f"/market/positions/{name}")
                positions = [
                    [p[key] for key in ("instrument", "net_quantity", "total_cost", "avg_price",
                                        "mark_price", "unrealized_pnl", "realized_pnl")]
                    for p in loads(shown.raw).get("positions", ())
                ]  # fmt: skip
                known = connection.execute(
                    "SELECT count(*) FROM exchange.clients WHERE client_id = %s", (name,)
                ).fetchone()
                if known == (0,):
                    assert shown.status == 404
                    continue
                rows = connection.execute(
                    "SELECT instrument, net_quantity, total_cost, avg_price, mark_price,"
                    " unrealized_pnl, realized_pnl FROM analytics.positions(%s)",
                    (name,),
                ).fetchall()
                assert positions == [list(row) for row in rows]
                book = client.get("/market/orderbook").json
                seen.add((bool(book["bids"]), bool(book["asks"]), bool(positions)))
    assert {(True, True, True), (True, False, True), (False, True, True)} <= seen


def loads(raw: bytes) -> dict[str, list[dict[str, Decimal]]]:
    import json

    exact: dict[str, list[dict[str, Decimal]]] = json.loads(
        raw, parse_float=Decimal, parse_int=Decimal
    )
    return exact
