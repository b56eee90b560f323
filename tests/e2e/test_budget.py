"""What an order may cost on its way: round trips and bytes on each hop, whatever the machine.

No time is measured, so nothing depends on how busy the machine is. The bounds are a little above
what is needed today; whoever exceeds one has made every order dearer, and says why or finds out.
`./ops/test -s tests/e2e/test_budget.py` prints the figures.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.exchange import Exchange, eventually
from tests.wire import PostgresAsked, RedisAsked, Wire, wires

BATCH = 100
SINGLES = 20
# A client goes on for a moment after its answer: what the matcher does last is its publication.
PUBLISHED = "publish.lua"


class Spent(NamedTuple):
    """Bytes and questions on one hop."""

    up: int
    down: int
    asked: Counter[str]


class Hops:
    """An exchange of one web process and one matcher whose every hop is counted."""

    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self.wires = {
            "web-redis": Wire(redis_url, RedisAsked),
            "web-postgres": Wire(database_url, PostgresAsked),
            "matcher-redis": Wire(redis_url, RedisAsked),
            "matcher-postgres": Wire(database_url, PostgresAsked),
        }
        self.exchange = Exchange(database_url, redis_url, folder)

    def start(self) -> None:
        for module, role in (("workers.matching", "matcher"), ("api", "web")):
            self.exchange.spawn(
                module,
                REDIS_URL=self.wires[f"{role}-redis"].url,
                DATABASE_URL=self.wires[f"{role}-postgres"].url,
            )
        self.exchange.wait_ready()

    def spent(self, work: Any, batches: int) -> dict[str, Spent]:
        """Return what `work` has cost; it makes the matcher publish so many batches."""
        before = {name: wire.count() for name, wire in self.wires.items()}
        work()
        done = before["matcher-redis"][2][PUBLISHED] + batches
        eventually(
            lambda: self.wires["matcher-redis"].count()[2][PUBLISHED] >= done, "all is published"
        )
        after = {name: wire.count() for name, wire in self.wires.items()}
        return {
            name: Spent(up - before[name][0], down - before[name][1], asked - before[name][2])
            for name, (up, down, asked) in after.items()
        }


@pytest.fixture
def hops(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Hops]:
    hops = Hops(database_url, redis_url, tmp_path)
    with wires(*hops.wires.values()):
        try:
            hops.start()
            # Whatever is only done once: clients get their numbers, statements are prepared.
            for seed in range(10):
                submit(hops, seed)
            yield hops
        finally:
            hops.exchange.stop()


def orders(seed: int) -> list[dict[str, Any]]:
    """Return 70 limit and 30 market orders of 50 clients, as the benchmarks send them."""
    random = Random(seed)
    made = []
    for number in range(BATCH):
        order = {
            "client_id": f"client-{number % 50}",
            "side": random.choice(("buy", "sell")),
            "quantity": f"0.{random.randint(1, 99):02}",
        }
        kind = (
            {"type": "limit", "price": 70_000 + random.randint(-50, 50)}
            if number % 10 < 7
            else {"type": "market"}
        )
        made.append(order | kind)
    return made


def submit(hops: Hops, seed: int) -> None:
    with hops.exchange.client() as client:
        answer = client.post("/orders/batch", {"orders": orders(seed)})
    assert {result["status"] for result in answer.json["results"]} == {201}


def show(title: str, spent: dict[str, Spent], orders: int) -> None:
    print(f"\n{title}")
    for name, (up, down, asked) in spent.items():
        print(
            f"  {name:<17} {up / orders:7.0f} bytes up, {down / orders:7.0f} down an order;  "
            + ", ".join(f"{count} {what}" for what, count in sorted(asked.items()))
        )


# (hop, most bytes an order up, most bytes an order down)
BYTES_OF_A_BATCH = [
    ("web-redis", 450, 950),
    ("web-postgres", 30, 60),
    ("matcher-redis", 1_000, 400),
    ("matcher-postgres", 260, 30),
]


def test_a_batch_of_100_orders(hops: Hops) -> None:
    spent = hops.spent(lambda: submit(hops, 99), batches=1)
    show(f"one batch of {BATCH} orders", spent, BATCH)
    asked = {name: hop.asked for name, hop in spent.items()}
    # One append, one read, one commit, one publication, however many orders.
    assert asked["web-redis"]["append.lua"] == 1
    assert asked["matcher-redis"]["publish.lua"] == 1
    # A read that waited in vain is one more: how many depends on the time that all of this took.
    assert 1 <= asked["matcher-redis"]["XREADGROUP"] <= 10
    assert asked["matcher-postgres"]["commit_batch"] == 1
    assert asked["matcher-postgres"]["ensure_clients"] == 0
    assert asked["matcher-postgres"]["find_first_orders"] == 0
    assert asked["web-postgres"]["get_orders"] == 0
    # Who is far from the limits is counted in the process, and told of 20 times a second.
    assert asked["web-redis"]["limit.lua"] <= 2
    for name, up, down in BYTES_OF_A_BATCH:
        assert spent[name].up <= up * BATCH, name
        assert spent[name].down <= down * BATCH, name


def test_single_orders(hops: Hops) -> None:
    """One after another, so each is a batch of its own."""
    answers = []

    def work() -> None:
        with hops.exchange.client() as client:
            answers.extend(client.post("/orders", order) for order in orders(7)[:SINGLES])

    spent = hops.spent(work, batches=SINGLES)
    assert {answer.status for answer in answers} == {201}
    show(f"{SINGLES} orders one by one", spent, SINGLES)
    answered = sum(len(answer.raw) for answer in answers) / SINGLES
    print(f"  client-web        {answered:7.0f} bytes of JSON an answer")
    asked = {name: hop.asked for name, hop in spent.items()}
    assert asked["web-redis"]["append.lua"] == SINGLES
    assert asked["matcher-redis"]["publish.lua"] == SINGLES
    assert SINGLES <= asked["matcher-redis"]["XREADGROUP"] <= 2 * SINGLES
    assert asked["matcher-postgres"]["commit_batch"] == SINGLES
    assert asked["matcher-postgres"]["find_first_orders"] == 0
    assert asked["web-postgres"]["get_orders"] == 0
    # The rest of what is asked does not depend on orders: leases, heartbeats, instruments.
    assert answered <= 3_000


def test_names_that_clients_choose_cost_one_look(hops: Hops) -> None:
    """A key makes the matcher look once per batch, not once per order."""
    named = [order | {"idempotency_key": f"key-{n}"} for n, order in enumerate(orders(5))]

    def work() -> None:
        with hops.exchange.client() as client:
            results = client.post("/orders/batch", {"orders": named}).json["results"]
        assert {result["status"] for result in results} == {201}

    spent = hops.spent(work, batches=1)
    show(f"one batch of {BATCH} orders with keys", spent, BATCH)
    assert spent["matcher-postgres"].asked["find_first_orders"] == 1
    assert spent["matcher-postgres"].asked["commit_batch"] == 1
    assert spent["web-postgres"].asked["find_first_orders"] == 0
