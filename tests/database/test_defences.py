"""The database proves its ledger itself, whoever writes, and wherever he aims."""

import psycopg
import pytest

from ops.verify import broken_invariants

# A trade's entry and a house's, each as one statement would have to write it.
BOOKS = {"book": (1, "trade"), "house": (0, "deposit")}
TARGETS = ["{}", "{}_i{}", "{}_i{}_s0"]


def entry(target: str, book: int, kind: str, sequence: int, *postings: tuple[int, int, int]) -> str:
    """Return one statement that writes an entry of kind and postings (client, asset, amount)."""
    entries = target.format("exchange.ledger_entries", book)
    rows = ", ".join(
        f"({book}, {sequence}, {leg}, {client}, {asset}, {amount})"
        for leg, (client, asset, amount) in enumerate(postings, 1)
    )
    return (
        f"WITH e AS (INSERT INTO {entries} VALUES ({book}, {sequence}, '{kind}', now()))"
        f" INSERT INTO {target.format('exchange.postings', book)} VALUES {rows}"
    )


def refused(look: psycopg.Connection, statement: str, sqlstate: str = "EX003") -> str:
    with pytest.raises(psycopg.Error) as error:
        look.execute(statement)
    assert error.value.sqlstate == sqlstate, error.value
    return str(error.value.diag.message_primary)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", BOOKS)
def test_only_balanced_entries_are_written(
    look: psycopg.Connection, name: str, target: str
) -> None:
    book, kind = BOOKS[name]
    off = entry(target, book, kind, 1, (5, 1, 7), (6, 1, -6))
    assert "does not balance: asset 1 is off by 1" in refused(look, off)
    assets = entry(target, book, kind, 1, (5, 1, 7), (6, 2, -7))
    assert "does not balance" in refused(look, assets)
    alone = f"INSERT INTO {target.format('exchange.ledger_entries', book)} VALUES"
    alone += f" ({book}, 1, '{kind}', now())"
    assert "has no postings" in refused(look, alone)
    postings = target.format("exchange.postings", book)
    orphans = f"INSERT INTO {postings} VALUES ({book}, 1, 1, 5, 1, 7), ({book}, 1, 2, 6, 1, -7)"
    assert "postings without an entry" in refused(look, orphans)
    single = entry(target, book, kind, 1, (5, 1, 7))
    assert "does not balance" in refused(look, single)
    nothing = entry(target, book, kind, 1, (5, 1, 0), (6, 1, 0))
    refused(look, nothing, "23514")
    assert look.execute("SELECT count(*) FROM exchange.postings").fetchone() == (0,)

    look.execute(entry(target, book, kind, 1, (5, 1, 7), (6, 1, -4), (7, 1, -3)))
    # What is added to an entry balances by itself.
    more = f"INSERT INTO {postings} VALUES ({book}, 1, 4, 5, 2, 1), ({book}, 1, 5, 6, 2, {{}})"
    refused(look, more.format(-2))
    look.execute(more.format(-1))
    # Nor does a transaction help: each statement is judged.
    with pytest.raises(psycopg.Error), look.transaction():
        look.execute(alone.replace(", 1,", ", 2,"))
    assert look.execute("SELECT count(*) FROM exchange.ledger_entries").fetchone() == (1,)
    assert "entries_balance" not in broken_invariants(look)


@pytest.mark.parametrize("target", TARGETS)
def test_every_entry_of_a_statement_is_looked_at(look: psycopg.Connection, target: str) -> None:
    """The last of many, in a statement whose entries are far apart."""
    statement = (
        f"WITH e AS (INSERT INTO {target.format('exchange.ledger_entries', 1)}"
        " SELECT 1, 10 * n, 'trade', now() FROM generate_series(1, 300) n)"
        f" INSERT INTO {target.format('exchange.postings', 1)}"
        " SELECT 1, 10 * n, leg, leg, 1, 3 - 2 * leg"
        " FROM generate_series({}, {}) n, generate_series(1, 2) leg"
    )
    assert "entry (1, 3000) has no postings" in refused(look, statement.format(1, 299))
    assert "without an entry: (1, 3010)" in refused(look, statement.format(1, 301))
    look.execute(statement.format(1, 300))


def test_kinds_keep_to_their_books(look: psycopg.Connection) -> None:
    refused(look, entry("{}", 1, "deposit", 1, (5, 1, 7), (6, 1, -7)), "23514")
    refused(look, entry("{}", 0, "trade", 1, (5, 1, 7), (6, 1, -7)), "23514")


WHOLE = ["trades", "order_events", "ledger_entries", "postings"]
PARTS = [name.format(table, 1) for table in WHOLE for name in TARGETS]
OTHERS = [
    "ledger_entries_i0", "ledger_entries_i0_s0", "postings_i0", "postings_i0_s0", "house_entries",
    "settlement_runs", "settlement_bounds", "settlement_clients", "closing_balances",
]  # fmt: skip


@pytest.mark.parametrize("table", PARTS + OTHERS)
def test_history_is_never_edited(look: psycopg.Connection, table: str) -> None:
    (column,) = look.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1",
        (f"exchange.{table}",),
    ).fetchone()  # type: ignore[misc]
    refused(look, f"UPDATE exchange.{table} SET {column} = {column}", "EX004")
    refused(look, f"DELETE FROM exchange.{table}", "EX004")
    refused(look, f"TRUNCATE exchange.{table} CASCADE", "EX004")


def test_partitions_that_are_made_later_are_guarded(look: psycopg.Connection) -> None:
    look.execute("UPDATE exchange.settings SET range_length = 10")
    assert look.execute("SELECT exchange.make_ranges_v1(2, 10000000)").fetchone() == (1,)
    unguarded = look.execute(
        "SELECT c.relname FROM pg_class c"
        " WHERE c.relnamespace = 'exchange'::regnamespace AND c.relkind IN ('r', 'p')"
        " AND c.relname ~ '^(trades|order_events|ledger_entries|postings)'"
        " AND (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled = 'O')"
        "   <> CASE WHEN c.relname ~ '^(ledger|postings)' THEN 2 ELSE 1 END"
    ).fetchall()
    assert unguarded == []
    (leaves,) = look.execute(
        "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_i2\\_s10000000'"
    ).fetchone()  # type: ignore[misc]
    assert leaves == 4


@pytest.mark.parametrize("client_id", ["@me", "@world"])
def test_names_of_the_house_are_the_house_s(look: psycopg.Connection, client_id: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityError):
        look.execute("INSERT INTO exchange.clients (client_id) VALUES (%s)", (client_id,))
