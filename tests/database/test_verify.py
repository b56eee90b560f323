"""The invariants find what they are for: each tampering is named by its own query."""

import json
from pathlib import Path

import psycopg
import pytest

import sql
from ops.verify import broken_invariants, compare_books, lost_acks

ORDER = (
    "INSERT INTO exchange.orders VALUES (1, {no}, 'order-{no}', 1, '{side}', 'limit', {price}, 1,"
    " {filled}, {value}, '{status}', NULL, NULL, {no}, now(), now());"
)
TRADE = "INSERT INTO exchange.trades VALUES (1, 3, 1, 10, 1, 'sell', 1, 2, 1, 2, now());"
POSITION = (
    "INSERT INTO exchange.positions (instrument_id, client_no, net_quantity, total_cost,"
    " realized_pnl, updated_at) VALUES (1, 1, {}, {}, {}, now())"
)
SOLD_TOO_LOW = (
    ORDER.format(no=1, side="buy", price=10, filled=1, value=10, status="filled")
    + ORDER.format(no=2, side="sell", price=11, filled=1, value=10, status="filled")
    + TRADE
)

RUN = (
    "INSERT INTO exchange.settlement_runs (day, settled_at, actor, clients)"
    " VALUES ('2024-05-01', now(), 'me', 0);"
)
BOUNDS = "INSERT INTO exchange.settlement_bounds VALUES ('2024-05-01', 1, {}, {});"

TAMPERINGS = {
    "entries_have_postings": "INSERT INTO exchange.ledger_entries VALUES (1, 1, 'trade', now())",
    "fees_are_their_trades": TRADE
    + "INSERT INTO exchange.postings VALUES (1, 3, 6, -2, 2, 5), (1, 3, 5, 2, 2, -5)",
    "house_entries_are_entered": "UPDATE exchange.house_book SET sequence = 1",
    "settlement_sums_to_zero": "INSERT INTO exchange.balances VALUES (-3, 1, 0, 5)",
    "settlements_follow_on": RUN + BOUNDS.format(1, 2),
    "settlements_are_their_trades": RUN
    + BOUNDS.format(0, 1)
    + "INSERT INTO exchange.postings VALUES (1, 1, 1, 1, 1, 5), (1, 1, 2, 2, 1, -5)",
    "closing_balances_are_their_postings": RUN
    + "INSERT INTO exchange.closing_balances VALUES ('2024-05-01', 1, 1, 5)",
    "entries_balance": "INSERT INTO exchange.postings VALUES (1, 1, 1, 1, 1, 5)",
    "assets_sum_to_zero": "INSERT INTO exchange.balances VALUES (1, 1, 1, 5)",
    "positions_sum_to_zero": POSITION.format(5, 0, 0),
    "balances_are_their_postings": "INSERT INTO exchange.balances VALUES (1, 1, 1, 5)",
    "positions_are_their_postings": POSITION.format(5, 0, 0),
    "positions_cost_their_postings": POSITION.format(0, 0, 7),
    "positions_are_their_fills": TRADE,
    "orders_have_clients": ORDER.format(
        no=1, side="buy", price=10, filled=0, value=0, status="open"
    ),
    "trades_are_entered": TRADE,
    "fills_are_their_trades": ORDER.format(
        no=1, side="buy", price=10, filled=1, value=10, status="filled"
    ),
    "trades_respect_limits": SOLD_TOO_LOW,
    "sequences_are_gapless": "UPDATE exchange.shard SET sequence = 1 WHERE instrument_id = 1",
    "resting_orders_are_their_events": ORDER.format(
        no=1, side="buy", price=10, filled=0, value=0, status="open"
    ),
    "numbers_are_gapless": "UPDATE exchange.shard SET order_no = 1 WHERE instrument_id = 1",
}


@pytest.fixture
def tampering(database_url: str) -> psycopg.Connection:
    """A superuser who has switched the database's own defences off."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def test_every_invariant_is_tried() -> None:
    assert TAMPERINGS.keys() == sql.queries("invariants.sql").keys()


@pytest.mark.parametrize("invariant", TAMPERINGS)
def test_tampering_is_named(tampering: psycopg.Connection, invariant: str) -> None:
    assert broken_invariants(tampering) == {}
    tampering.execute(TAMPERINGS[invariant])
    assert invariant in broken_invariants(tampering)


def test_a_resting_order_that_no_event_put_there(tampering: psycopg.Connection) -> None:
    assert {row[-1] for row in compare_books(tampering)} == {"ok"}
    tampering.execute("INSERT INTO exchange.clients (client_id) VALUES ('client-A')")
    tampering.execute(ORDER.format(no=1, side="buy", price=10, filled=0, value=0, status="open"))
    verdicts = [row[-1] for row in compare_books(tampering)]
    assert verdicts[0].startswith("the event log says")
    assert verdicts[1:] == ["ok", "ok"]


def test_what_was_acknowledged_and_is_not_stored(
    tampering: psycopg.Connection, tmp_path: Path
) -> None:
    tampering.execute(SOLD_TOO_LOW)
    order = {
        "order_id": "order-1", "order_no": 1, "side": "buy", "type": "limit", "price": 10,
        "quantity": 1, "filled_quantity": 1, "status": "filled",
    }  # fmt: skip
    trade = {
        "trade_id": "BTC-USD-1", "instrument": "BTC-USD", "sequence": 3, "trade_no": 1,
        "price": 10, "quantity": 1,
    }  # fmt: skip
    acks = tmp_path / "acks"

    def lost(order: dict[str, object], *trades: dict[str, object]) -> list[str]:
        acks.write_text(json.dumps({"order": order, "trades": trades}) + "\n")
        return list(lost_acks(tampering, acks))

    assert lost(order, trade) == []
    assert len(lost(order | {"order_id": "nobody"})) == 1
    assert len(lost(order | {"price": 11})) == 1
    assert len(lost(order | {"filled_quantity": 2})) == 1
    assert len(lost(order | {"status": "cancelled"})) == 1
    assert lost(order, trade | {"price": 11}) == ["trade BTC-USD-1"]
