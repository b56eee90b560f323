"""What is made of a plan: partitions taken together, what never ran left out."""

from ops.bench.plans import Summary, note, walk

ROOTS = {"trades_s0_time": "trades_time", "trades_s5_time": "trades_time"}


def scan(index: str, loops: int, rows: float, **more: object) -> dict[str, object]:
    return {
        "Node Type": "Index Scan",
        "Index Name": index,
        "Actual Loops": loops,
        "Actual Rows": rows,
        **more,
    }


def test_partitions_are_taken_together_and_what_never_ran_is_left_out() -> None:
    plan = {
        "Node Type": "Aggregate",
        "Strategy": "Hashed",
        "Actual Loops": 1,
        "Actual Rows": 7.0,
        "Plans": [
            scan("trades_s0_time", 3, 2.0, **{"Index Searches": 9, "Rows Removed by Filter": 1}),
            scan("trades_s5_time", 1, 4.0),
            scan("clients_pkey", 2, 50.0),
            scan("orders_pkey", 0, 0.0),
        ],
    }
    summary = Summary(statements=1, blocks_hit=1_200, blocks_read=34, temporary_blocks=5)
    for node in walk(plan):
        note(summary, node, ROOTS)
    assert list(summary.lines()) == [
        "1 statements; blocks: 1,234, of them 34 not in shared buffers, 5 temporary",
        "  clients_pkey (Index Scan): 100 rows, 2 searches",
        "  trades_time (Index Scan): 13 rows, 10 searches, 2 partitions",
        "  Hashed Aggregate: 7",
    ]
