"""What a batch gathers: new orders, updates of older ones, trades, replies, positions."""

import pytest

from tests.builders import TIME_US, command, describe_book
from workers.core.batch import Batch, DeadLetter, Names
from workers.core.codec import Reply, Request
from workers.core.duplicates import first_order
from workers.core.engine import MatchingEngine
from workers.core.messages import SubmitOrder
from workers.core.records import record_order

EDGE = "edge-1"


class Run:
    """An engine and the batch it is gathered in."""

    def __init__(self, before: str = "") -> None:
        self.engine = MatchingEngine()
        self.entries = 0
        self.start()
        self.add(before)
        self.start()

    def start(self) -> None:
        engine = self.engine
        self.batch = Batch(
            "BTC-USD", f"{self.entries}-0", engine.sequence, engine.order_no, engine.trade_no
        )

    def add(self, text: str, reply_to: str = EDGE) -> list[Reply]:
        """Apply commands, one entry each, and return the replies to them."""
        known = len(self.batch.replies.get(reply_to, ()))
        for place, line in enumerate(filter(None, (line.strip() for line in text.split(";")))):
            self.entries += 1
            each = command(line, TIME_US + place)
            self.batch.add_entry(f"{self.entries}-0")
            self.batch.add_events(Request(each, reply_to, self.entries), self.engine.apply(each))
        return self.batch.replies.get(reply_to, [])[known:]


# (what it shows, commands of earlier batches, commands, new orders, updates, trades, cancels)
# New orders are (sequence, order_id, status); updates are (order_id, lots, value) of this batch.
GATHERED = [
    ("a resting order", "", "b1 buy 5@100", [(1, "b1", "open")], [], 0, []),
    (
        "a rejected order is stored too",
        "",
        "m1 buy 5@market; late b1 buy 5@100",
        [(1, "m1", "rejected"), (2, "b1", "rejected")],
        [],
        0,
        [],
    ),
    (
        "orders born in this batch are stored as they stand at its end",
        "",
        "s1 sell 5@100; b1 buy 2@100; b2 buy 3@100",
        [(1, "s1", "filled"), (2, "b1", "filled"), (4, "b2", "filled")],
        [],
        2,
        [],
    ),
    (
        "an older maker is an update",
        "s1 sell 5@100",
        "b1 buy 2@100",
        [(2, "b1", "filled")],
        [("s1", 2, 200)],
        1,
        [],
    ),
    (
        "an older maker met twice is one update",
        "s1 sell 5@100",
        "b1 buy 2@100; b2 buy 3@101",
        [(2, "b1", "filled"), (4, "b2", "filled")],
        [("s1", 5, 500)],
        2,
        [],
    ),
    (
        "fills of earlier batches are not counted again",
        "s1 sell 5@100; b0 buy 1@100",
        "b1 buy 2@100",
        [(4, "b1", "filled")],
        [("s1", 2, 200)],
        1,
        [],
    ),
    (
        "older and new makers of one taker",
        "s1 sell 1@100",
        "s2 sell 1@101; b1 buy 3@102",
        [(2, "s2", "filled"), (3, "b1", "partially_filled")],
        [("s1", 1, 100)],
        2,
        [],
    ),
    (
        "a cancelled older order is an update without fills",
        "b1 buy 5@100",
        "cancel b1",
        [],
        [("b1", 0, 0)],
        0,
        [(2, "b1", 5)],
    ),
    (
        "an older order filled in part and then cancelled",
        "b1 buy 5@100",
        "s1 sell 2@100; cancel b1",
        [(2, "s1", "filled")],
        [("b1", 2, 200)],
        1,
        [(4, "b1", 3)],
    ),
    (
        "a new order cancelled in the same batch is no update",
        "",
        "b1 buy 5@100; cancel b1",
        [(1, "b1", "cancelled")],
        [],
        0,
        [(2, "b1", 5)],
    ),
    (
        "a market remainder is cancelled",
        "s1 sell 2@100",
        "m1 buy 5@market",
        [(2, "m1", "cancelled")],
        [("s1", 2, 200)],
        1,
        [(4, "m1", 3)],
    ),
    ("a refused cancel", "", "cancel nobody", [], [], 0, []),
    ("nothing", "s1 sell 2@100", "", [], [], 0, []),
]


@pytest.mark.parametrize(
    ("before", "text", "orders", "updates", "trades", "cancels"),
    [row[1:] for row in GATHERED],
    ids=[row[0] for row in GATHERED],
)
def test_gathered(
    before: str, text: str, orders: list, updates: list, trades: int, cancels: list
) -> None:
    run = Run(before)
    batch, engine = run.batch, run.engine
    started = (engine.sequence, engine.order_no, f"{run.entries}-0")
    trade_no = engine.trade_no
    run.add(text)

    assert [(seq, order.order_id, order.status) for seq, order in batch.orders] == orders
    assert [
        (update.order.order_id, update.filled_lots, update.filled_value)
        for update in batch.updates.values()
    ] == updates
    assert all(order_no == update.order.order_no for order_no, update in batch.updates.items())
    assert [trade.trade_no for trade in batch.trades] == list(
        range(trade_no + 1, trade_no + trades + 1)
    )
    assert [(c.sequence, c.order.order_id, c.remaining_lots) for c in batch.cancels] == cancels

    # From where the last batch ended, to where the engine stands.
    assert (batch.from_sequence, batch.from_order_no, batch.from_position) == started
    assert (batch.sequence, batch.order_no, batch.trade_no) == (
        engine.sequence,
        engine.order_no,
        engine.trade_no,
    )
    assert batch.position == f"{run.entries}-0"
    assert len(batch) == len(batch.entry_ids)


def test_every_sequence_of_a_batch_is_in_it_once() -> None:
    run = Run("s1 sell 2@100; b1 buy 1@90")
    run.add("m1 buy 5@market; m2 buy 1@market; cancel b1; cancel b1; s2 sell 1@95; b2 buy 2@95")
    batch = run.batch
    sequences = (
        [sequence for sequence, _ in batch.orders]
        + [trade.sequence for trade in batch.trades]
        + [cancel.sequence for cancel in batch.cancels]
    )
    assert sorted(sequences) == list(range(batch.from_sequence + 1, batch.sequence + 1))


# (what it shows, commands before, command, outcome, order_id, status, trades, sequence)
REPLIES = [
    ("resting", "", "b1 buy 5@100", "accepted", "b1", "open", 0, 1),
    ("rejected", "", "m1 buy 5@market", "accepted", "m1", "rejected", 0, 1),
    ("expired", "", "late b1 buy 5@100", "accepted", "b1", "rejected", 0, 1),
    ("filled", "s1 sell 2@100", "b1 buy 2@100", "accepted", "b1", "filled", 1, 3),
    ("market, part", "s1 sell 2@9", "m1 buy 5@market", "accepted", "m1", "cancelled", 1, 4),
    ("cancel", "b1 buy 5@100", "cancel b1", "cancelled", "b1", "cancelled", 0, 2),
    ("cancel, unknown", "b1 buy 5@100", "cancel b2", "not_resting", "b2", None, 0, 1),
    ("cancel, late", "b1 buy 5@100", "late cancel b1", "not_resting", "b1", None, 0, 1),
]


@pytest.mark.parametrize(
    ("before", "text", "outcome", "order_id", "status", "trades", "sequence"),
    [row[1:] for row in REPLIES],
    ids=[row[0] for row in REPLIES],
)
@pytest.mark.parametrize("parted", [True, False], ids=["next batch", "same batch"])
def test_reply(
    before: str,
    text: str,
    outcome: str,
    order_id: str,
    status: str | None,
    trades: int,
    sequence: int,
    parted: bool,
) -> None:
    run = Run(before)
    if not parted:
        run = Run()
        run.add(before)
    (reply,) = run.add(text)
    assert (reply.correlation, reply.outcome, reply.order_id) == (run.entries, outcome, order_id)
    assert (reply.order.status if reply.order else None) == status
    assert len(reply.trades) == trades
    assert reply.sequence == sequence == run.engine.sequence


def test_a_reply_shows_the_order_as_of_its_own_command() -> None:
    run = Run()
    first, second = run.add("b1 buy 5@100; s1 sell 2@100")
    assert first.order is not None
    assert (first.order.status, first.order.filled_lots, first.sequence) == ("open", 0, 1)
    (trade,) = second.trades
    assert (trade.buy_order_id, trade.sell_order_id, trade.taker_side) == ("b1", "s1", "sell")
    assert (trade.price_ticks, trade.quantity_lots, trade.sequence) == (100, 2, 3)


def test_replies_are_gathered_by_edge_in_order() -> None:
    run = Run()
    run.add("b1 buy 5@100", "edge-1")
    run.add("b2 buy 5@100", "edge-2")
    run.add("cancel b1", "edge-1")
    assert {
        edge: [(reply.correlation, reply.order_id) for reply in replies]
        for edge, replies in run.batch.replies.items()
    } == {"edge-1": [(1, "b1"), (3, "b1")], "edge-2": [(2, "b2")]}


@pytest.mark.parametrize("outcome", ["duplicate", "conflict", "unusable"])
def test_a_refusal_is_answered_and_changes_nothing(outcome: str) -> None:
    run = Run("b1 buy 5@100")
    hash_before = run.engine.state_hash()
    run.batch.add_entry("9-0")
    run.batch.add_refusal(Request(command("b1 buy 5@100"), EDGE, 9), outcome, "b1")
    assert run.batch.replies == {EDGE: [Reply(9, outcome, 1, "b1")]}
    assert (run.batch.position, run.batch.sequence, run.batch.order_no) == ("9-0", 1, 1)
    assert run.batch.orders == run.batch.trades == run.batch.cancels == []
    assert run.batch.updates == {}
    assert run.engine.state_hash() == hash_before
    assert describe_book(run.engine) == "100:b1*5 |"


def test_a_new_batch_is_empty() -> None:
    batch = Batch("BTC-USD", "5-0", 10, 4, 2)
    assert len(batch) == 0
    assert (batch.position, batch.sequence, batch.order_no, batch.trade_no) == ("5-0", 10, 4, 2)
    batch.add_entry("6-0")
    batch.dead_letters.append(DeadLetter("6-0", b"\x00", "not JSON"))
    assert (len(batch), batch.entry_ids) == (1, ["6-0"])
    assert (batch.from_position, batch.position) == ("5-0", "6-0")
    assert batch.sequence == 10


def test_names_are_known_until_forgotten() -> None:
    names = Names()
    b1, b2 = command("b1 buy 5@100"), command("b2 buy 5@100")
    assert isinstance(b1, SubmitOrder)
    assert isinstance(b2, SubmitOrder)
    batch = Batch("BTC-USD", "0-0", 0, 0, 0)
    batch.names = [("", "b1"), ("alice", "k1")]
    for name in batch.names:
        names.remember(name, first_order("BTC-USD", b1))
    names.remember(("", "b2"), first_order("BTC-USD", b2))
    assert names.find(("alice", "k1")) == names.find(("", "b1")) == first_order("BTC-USD", b1)
    assert names.find(("bob", "k1")) is None

    names.forget(batch)
    names.forget(batch)

    assert names.find(("", "b1")) is None
    assert names.find(("alice", "k1")) is None
    assert names.find(("", "b2")) == first_order("BTC-USD", b2)


def test_records_are_pictures() -> None:
    engine = MatchingEngine()
    (accepted,) = engine.apply(command("b1 buy 5@100"))
    record = record_order("BTC-USD", accepted.order)
    engine.apply(command("s1 sell 5@100"))
    assert (record.status, record.filled_lots) == ("open", 0)
    assert record_order("BTC-USD", accepted.order).status == "filled"
