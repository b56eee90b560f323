"""Deposits, withdrawals and adjustments."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ops.verify import broken_invariants
from tests.matcher import ONE, Matcher, limit, market
from tests.threads import in_threads

POST = "SELECT * FROM exchange.post_entry_v1(%s, %s, %s, %s::numeric[], %s, %s, %s)"
Post = Callable[..., tuple[int, Any, bool]]


def post(
    look: psycopg.Connection, kind: str, *legs: tuple[str, str, str], key: str, **other: str
) -> tuple[int, Any, bool]:
    """Post an entry; legs are client, asset and amount."""
    client_ids, assets, amounts = map(list, zip(*legs, strict=True))
    actor, reason = other.get("actor", "me"), other.get("reason", "")
    values = (kind, client_ids, assets, amounts, actor, key, reason)
    return look.execute(POST, values).fetchone()  # type: ignore[return-value]


def legs(look: psycopg.Connection, sequence: int) -> list[tuple[str, str, Decimal]]:
    return look.execute(
        "SELECT client_id, asset, amount FROM exchange.postings"
        " JOIN exchange.clients USING (client_no) JOIN exchange.assets USING (asset_id)"
        " WHERE instrument_id = 0 AND sequence = %s ORDER BY leg",
        (sequence,),
    ).fetchall()


def balances(look: psycopg.Connection, client_id: str) -> dict[tuple[str, str], Decimal]:
    rows = look.execute("SELECT * FROM exchange.get_balances_v1(%s)", (client_id,)).fetchall()
    return {(asset, book): posted for asset, book, posted, _ in rows}


def test_entries_balance_against_the_world(look: psycopg.Connection) -> None:
    amount = "12345678901234567890.1234567890123456"
    assert post(look, "deposit", ("alice", "USD", amount), key="1")[::2] == (1, False)
    assert post(look, "withdrawal", ("alice", "USD", "0.5"), key="2")[::2] == (2, False)
    moves = ("alice", "USD", "-3"), ("bob", "USD", "2"), ("@fees", "USD", "1"), (
        "bob", "BTC", "1e-16"), ("@world", "BTC", "-1e-16")  # fmt: skip
    assert post(look, "adjustment", *moves, key="3", reason="why")[::2] == (3, False)
    assert legs(look, 1) == [
        ("alice", "USD", Decimal(amount)),
        ("@world", "USD", Decimal(amount).copy_negate()),
    ]
    assert legs(look, 2) == [("alice", "USD", Decimal("-0.5")), ("@world", "USD", Decimal("0.5"))]
    assert legs(look, 3) == [(*leg[:2], Decimal(leg[2])) for leg in moves]
    assert balances(look, "alice") == {
        ("USD", ""): Decimal("12345678901234567886.6234567890123456")
    }
    assert balances(look, "bob") == {("BTC", ""): Decimal("1e-16"), ("USD", ""): 2}
    assert look.execute(
        "SELECT sequence, kind::text, actor, reason, idempotency_key FROM exchange.house_entries"
        " ORDER BY sequence"
    ).fetchall() == [
        (1, "deposit", "me", "", "1"),
        (2, "withdrawal", "me", "", "2"),
        (3, "adjustment", "me", "why", "3"),
    ]
    times = look.execute(
        "SELECT posted_at FROM exchange.ledger_entries ORDER BY sequence"
    ).fetchall()
    assert times == sorted(times)
    assert broken_invariants(look) == {}


def test_a_key_has_one_effect(look: psycopg.Connection) -> None:
    first = post(look, "deposit", ("alice", "USD", "5"), key="k", actor="me")
    again = post(look, "deposit", ("alice", "USD", "5.00"), key="k", actor="somebody else")
    assert again == (first[0], first[1], True)
    for kind, leg, reason in [
        ("deposit", ("alice", "USD", "6"), ""),
        ("deposit", ("alice", "BTC", "5"), ""),
        ("deposit", ("bob", "USD", "5"), ""),
        ("withdrawal", ("alice", "USD", "5"), ""),
        ("deposit", ("alice", "USD", "5"), "why"),
    ]:
        with pytest.raises(psycopg.Error) as refused:
            post(look, kind, leg, key="k", reason=reason)
        assert refused.value.sqlstate == "EX006", (kind, leg, reason)
    assert post(look, "deposit", ("alice", "USD", "1"), key="l")[0] == 2
    assert balances(look, "alice") == {("USD", ""): 6}
    assert look.execute(
        "SELECT client_id FROM exchange.clients WHERE client_no > 0"
    ).fetchall() == [("alice",)]
    assert broken_invariants(look) == {}


REFUSED = [
    ("transfer", [("a", "USD", "1")], "the kind is"),
    (None, [("a", "USD", "1")], "the kind is"),
    ("deposit", [("a", "USD", "1"), ("b", "USD", "1")], "has one leg"),
    ("adjustment", [("a", "USD", "1")], "has one leg"),
    ("deposit", [("a", "USD", "-1")], "above 0"),
    ("deposit", [("a", "USD", "0")], "above 0"),
    ("withdrawal", [("a", "USD", "-1")], "above 0"),
    ("deposit", [("a", "USD", "0.00000000000000001")], "at most 16 decimals"),
    ("deposit", [("a", "USD", "100000000000000000000")], "below 1e20"),
    ("deposit", [("a", "USD", "NaN")], "no amount"),
    ("deposit", [("a", "USD", "Infinity")], "no amount"),
    ("deposit", [("a", "USD", None)], "no amount"),
    ("deposit", [("a", "XXX", "1")], "there is no asset 'XXX'"),
    ("deposit", [("a", None, "1")], "there is no asset NULL"),
    ("deposit", [("@fees", "USD", "1")], "no client that a deposit can name"),
    ("deposit", [("a b", "USD", "1")], "no client"),
    ("deposit", [("", "USD", "1")], "no client"),
    ("deposit", [("a" * 65, "USD", "1")], "no client"),
    ("deposit", [(None, "USD", "1")], "no client"),
    ("adjustment", [("a", "USD", "1"), ("@settlement", "USD", "-1")], "an adjustment can name"),
    ("adjustment", [("a", "USD", "1"), ("@else", "USD", "-1")], "an adjustment can name"),
    ("adjustment", [("a", "USD", "1"), ("b", "USD", "0")], "not 0"),
    ("adjustment", [("a", "USD", "1"), ("b", "USD", "-2")], "USD is off by -1"),
    ("adjustment", [("a", "USD", "1"), ("b", "BTC", "-1")], "do not balance"),
]


@pytest.mark.parametrize(("kind", "wrong", "said"), REFUSED)
def test_unusable_entries(
    look: psycopg.Connection, kind: str, wrong: list[tuple[str, str, str]], said: str
) -> None:
    with pytest.raises(psycopg.Error) as refused:
        post(look, kind, *wrong, key="k")
    assert refused.value.sqlstate == "EX005"
    assert said in str(refused.value.diag.message_primary)
    assert look.execute("SELECT sequence FROM exchange.house_book").fetchone() == (0,)
    assert look.execute("SELECT count(*) FROM exchange.clients").fetchone() == (3,)


@pytest.mark.parametrize(
    ("actor", "key", "reason"),
    [("", "k", ""), (None, "k", ""), ("a" * 129, "k", ""), ("a", "", ""), ("a", None, ""),
     ("a", "k" * 129, ""), ("a", "k", None), ("a", "k", "r" * 513)],
)  # fmt: skip
def test_who_and_why_are_named(look: psycopg.Connection, actor: str, key: str, reason: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        look.execute(POST, ("deposit", ["a"], ["USD"], [1], actor, key, reason))
    assert refused.value.sqlstate == "EX005"


async def test_a_withdrawal_is_covered_by_all_books(
    matcher: Matcher, look: psycopg.Connection
) -> None:
    """alice sells a bitcoin for 10: she has them in the instrument's book, and 5 in the house's."""
    await matcher.commit(
        await matcher.apply(
            limit("buy", 10 * ONE, ONE, client_id="bob"), market("sell", ONE, client_id="alice")
        )
    )
    post(look, "deposit", ("alice", "USD", "5"), key="1")
    for client_id, asset, amount in [
        ("alice", "USD", "15.0000000000000001"), ("alice", "BTC", "1"), ("bob", "USD", "1"),
        ("nobody", "USD", "1"),
    ]:  # fmt: skip
        with pytest.raises(psycopg.Error) as refused:
            post(look, "withdrawal", (client_id, asset, amount), key="2")
        assert refused.value.sqlstate == "EX007"
    post(look, "withdrawal", ("alice", "USD", "15"), key="2")
    assert balances(look, "alice") == {
        ("USD", ""): -10,
        ("USD", "BTC-USD"): 10,
        ("BTC", "BTC-USD"): -1,
    }
    # The repeat is looked at before the balance is.
    assert post(look, "withdrawal", ("alice", "USD", "15"), key="2")[2]
    assert broken_invariants(look) == {}


def test_many_at_once(database_url: str, look: psycopg.Connection) -> None:
    post(look, "deposit", ("alice", "USD", "10"), key="start")
    # Ten withdraw seven: one can. Ten post with one key: it is posted once.
    taken = in_threads(
        database_url,
        10,
        lambda c, n: post(c, "withdrawal", ("alice", "USD", "7"), key=f"w{n}")[2],
    )
    assert sorted(map(str, taken)) == ["EX007"] * 9 + ["False"]
    same = in_threads(
        database_url, 10, lambda c, _: post(c, "deposit", ("new", "USD", "1"), key="same")
    )
    assert len({row[:2] for row in same}) == 1
    assert sorted(row[2] for row in same) == [False] + [True] * 9
    in_threads(
        database_url, 10, lambda c, n: post(c, "deposit", (f"c{n}", "USD", "1"), key=f"d{n}")
    )
    sequences = look.execute("SELECT sequence FROM exchange.house_entries ORDER BY 1").fetchall()
    assert [n for (n,) in sequences] == list(range(1, 14))
    assert broken_invariants(look) == {}


def test_the_house_s_book_grows_past_its_ranges(look: psycopg.Connection) -> None:
    look.execute("UPDATE exchange.settings SET range_length = 3")
    # The first range was made by the migration, longer; its end is near.
    with look.transaction():
        look.execute("SET LOCAL session_replication_role = replica")
        look.execute("UPDATE exchange.house_book SET sequence = 4999998")
    for n in range(8):
        post(look, "deposit", ("alice", "USD", "1"), key=str(n))
    assert look.execute(
        "SELECT first_sequence, last_sequence FROM exchange.partition_ranges"
        " WHERE instrument_id = 0 ORDER BY 1"
    ).fetchall() == [(0, 4999999), (5000000, 5000002), (5000003, 5000005), (5000006, 5000008)]
    assert balances(look, "alice") == {("USD", ""): 8}
