"""The matcher's memory of client numbers has a limit, and what it forgot it asks for."""

import asyncio
from typing import Any

import pytest

from tests.builders import submit
from workers.adapters.client_numbers import ClientNumbers
from workers.adapters.errors import UnknownClients
from workers.adapters.ledger import Ledger
from workers.core.batch import Batch
from workers.core.codec import Request, encode_request
from workers.core.engine import MatchingEngine
from workers.core.instruments import Instrument
from workers.matching.loop import Caution, Loop
from workers.matching.observe import BatchObserver
from workers.metrics import Metrics

INSTRUMENT = Instrument(1, "BTC-USD", "BTC", "USD", 1, 1, "trading")


def test_it_never_holds_more_than_its_limit() -> None:
    numbers = ClientNumbers(80)
    for n in range(1_000):
        numbers.learn([(f"c{n}", n)])
        assert len(numbers) <= 80
    assert numbers["c999"] == 999
    assert "c0" not in numbers


def test_those_that_are_wanted_now_stay() -> None:
    numbers = ClientNumbers(10)
    numbers.learn([(f"c{n}", n) for n in range(10)])
    wanted = {"c0", *(f"new{n}" for n in range(20))}
    numbers.learn([(f"new{n}", n) for n in range(20)], wanted)
    # More than the limit at once, when one batch needs them; the next ones bring it back.
    assert numbers.keys() == wanted
    numbers.learn([("another", 1)])
    assert len(numbers) == 10
    assert numbers["another"] == 1


class Database:
    """What the ledger asks for the numbers of clients."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []

    async def execute(self, query: str, parameters: dict[str, str], **_: Any) -> Any:
        self.asked.append(set(parameters["client_ids"][2:-2].split('","')))
        return self

    async def fetchall(self) -> list[tuple[str, int]]:
        return [(client_id, len(client_id)) for client_id in self.asked[-1]]


class Forgetful(Ledger):
    """A real ledger that commits nowhere, and remembers one client at most."""

    def __init__(self, database: Database) -> None:
        super().__init__(INSTRUMENT, 60_000, database, database)  # type: ignore[arg-type]
        self._client_nos = ClientNumbers(1)
        self.committed: list[Any] = []

    async def commit(self, parameters: Any) -> None:
        self.committed.append(parameters)

    async def find_first_orders(self, order_ids: Any, keys: Any) -> list[Any]:
        return []

    async def renew(self, epoch: int) -> bool:
        return True


def test_a_ledger_says_whom_it_does_not_know() -> None:
    engine, batch = MatchingEngine(), Batch("BTC-USD", "0-0", 0, 0, 0)
    batch.add_entry("1-0")
    for number, (client_id, side) in enumerate((("maker", "sell"), ("taker", "buy"))):
        command = submit(f"o{number}", side, 1, 1, client_id=client_id)  # type: ignore[arg-type]
        batch.add_events(Request(command, "edge", number), engine.apply(command))
    with pytest.raises(UnknownClients) as unknown:
        Forgetful(Database()).parameters(batch, 1)
    assert unknown.value.client_ids == {"maker", "taker"}


class Stream:
    """Gives one entry per read, each when the one before is published."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = list(enumerate(entries, 1))
        self.ready = asyncio.Event()
        self.ready.set()
        self.done = asyncio.Event()

    async def read(self, count: int, block_ms: int) -> Any:
        await self.ready.wait()
        self.ready.clear()
        if not self.entries:
            self.done.set()
            await asyncio.sleep(3600)
        number, payload = self.entries.pop(0)
        return [(f"{number}-0", payload)]

    def age_us(self, stream_id: str, now_us: int) -> int:
        return 0

    async def check(self, position: str) -> None:
        pass

    async def publish(self, *_: Any) -> bool:
        self.ready.set()
        return True


async def test_makers_of_long_ago_are_asked_for_again() -> None:
    def entry(order_id: str, client_id: str, side: Any, price: int) -> bytes:
        command = submit(order_id, side, 1, price, client_id=client_id)
        return encode_request(command, ttl_ms=1_000, reply_to="edge", correlation=1)

    database = Database()
    ledger = Forgetful(database)
    stream = Stream(
        [
            entry("o1", "maker", "sell", 5), entry("o2", "other", "buy", 1),
            entry("o3", "another", "buy", 1), entry("o4", "taker", "buy", 5),
        ]
    )  # fmt: skip
    loop = Loop(
        instrument="BTC-USD",
        engine=MatchingEngine(),
        epoch=1,
        position="0-0",
        last_time_us=0,
        lease_ms=60_000,
        ledger=ledger,
        stream=stream,  # type: ignore[arg-type]
        clock=lambda: 1,
        caution=Caution(2),
        observer=BatchObserver(Metrics(), "BTC-USD", 1),
    )
    running = asyncio.create_task(loop.run())
    async with asyncio.timeout(5):
        await stream.done.wait()
        loop.stop()
        await running
    assert len(ledger.committed) == 4
    assert database.asked == [{"maker"}, {"other"}, {"another"}, {"taker"}, {"maker"}]
    assert len(ledger._client_nos) <= 2
