"""Short partitions, so that tests come to their ends."""

import psycopg

WHOLE = ["trades", "order_events", "ledger_entries", "postings"]


def shorten(look: psycopg.Connection, length: int) -> None:
    """Let instrument 1 start with ranges of this length."""
    look.execute("UPDATE exchange.settings SET range_length = %s", (length,))
    look.execute("DELETE FROM exchange.partition_ranges WHERE instrument_id = 1")
    for whole in WHOLE:
        look.execute(f"DROP TABLE exchange.{whole}_i1")
    look.execute("SELECT exchange.make_ranges_v1(1, 1)")
