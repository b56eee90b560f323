"""The real mirror over a simulated event log and Kafka: killed anywhere, two at once, by one seed.

What a reader holds after it dropped repeats must be every number of each topic, in order.
"""

import copy
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from tests.matcher import BTC_USD
from workers.adapters.errors import AdapterError, Fenced, OutcomeUnknown, Stale, Unavailable
from workers.adapters.kafka import Message
from workers.adapters.mirror import Page, Place
from workers.core.engine import MatchingEngine
from workers.core.messages import (
    CancelOrder,
    Order,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    SubmitOrder,
    Trade,
)
from workers.core.mirror import LogEvent, LogTrade
from workers.jobs import mirror
from workers.jobs.mirror_messages import EVENTS, TOPICS

SEEDS = 60
COMMANDS = 60
PAGE_LENGTH = 7
RUNS_MAX = 2_000


class Killed(BaseException):
    """The mirror's process is gone."""


class World:
    """An event log, the mirror's row, and Kafka's topics."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.calm = False
        self.sleeping = False
        self.kills = 0
        self.topics: dict[str, list[int]] = {topic: [] for topic in TOPICS}
        self.epoch, self.sequence, self.trade_no = 0, 0, 0
        self.events: list[LogEvent] = []
        # The resting orders, and how many events there were, before each command.
        self.before: list[tuple[int, dict[int, Order]]] = []
        self._trade()

    def _trade(self) -> None:
        engine, orders = MatchingEngine(), {}
        for n in range(COMMANDS):
            self.before.append((len(self.events), copy.deepcopy(orders)))
            command: SubmitOrder | CancelOrder
            if orders and self.chance.random() < 0.2:
                command = CancelOrder(self.chance.choice(list(orders.values())).order_id, n, n)
            else:
                side = self.chance.choice(("buy", "sell"))
                type = self.chance.choice(("limit", "limit", "limit", "market"))
                price = self.chance.randint(98, 102) if type == "limit" else 0
                quantity = self.chance.randint(1, 9)
                command = SubmitOrder(
                    f"o{n}", "client", side, type, price, quantity, "", True, n, n
                )
            for event in engine.apply(command):
                if isinstance(event, Trade):
                    trade = LogTrade(event.trade_no, event.maker.order_no, 0, 0, "", "")
                    self._log(event, "trade", event.taker, event.price_ticks, trade)
                elif isinstance(event, OrderAccepted | OrderRejected | OrderCancelled):
                    kind = KINDS[type_of(event)]
                    self._log(event, kind, event.order, event.order.price_ticks, None)
            orders = {order.order_no: order for order in engine.book.orders.values()}

    def _log(self, event: Any, kind: Any, order: Order, price: int, trade: LogTrade | None) -> None:
        quantity = {
            "trade": lambda: event.quantity_lots,
            "cancelled": lambda: event.remaining_lots,
        }.get(kind, lambda: order.quantity_lots)()
        self.events.append(
            LogEvent(
                event.sequence, kind, order.order_no, order.side, order.type, price, quantity,
                event.time_us, getattr(event, "reason", ""), trade,
            )
        )  # fmt: skip

    def fault(self, *kinds: str) -> str:
        """Return what goes wrong at a call, mostly nothing."""
        if self.calm or self.chance.random() > 0.15:
            return ""
        kind = self.chance.choice(kinds)
        if kind.startswith("kill"):
            self.kills += 1
        return kind


def type_of(event: object) -> str:
    return type(event).__name__


KINDS = {"OrderAccepted": "accepted", "OrderRejected": "rejected", "OrderCancelled": "cancelled"}


class Log:
    """Stands in for MirrorLog; tests/database/test_mirror.py runs the real one."""

    def __init__(self, world: World) -> None:
        self.world = world

    def begin(self, owner: str) -> Place:
        # Always: a lease may have run out, and then the one that held it is fenced.
        self.world.epoch += 1
        return Place(self.world.epoch, self.world.sequence, self.world.trade_no)

    def read(self, place: Place, length: int) -> Page:
        world = self.world
        if world.fault("error"):
            raise Unavailable("injected")
        starts = [(at, orders) for at, orders in world.before if at >= place.sequence]
        ends = [at for at, _ in starts[1:] if at >= place.sequence + length]
        end = ends[0] if ends else len(world.events)
        events = world.events[place.sequence : end]
        if not events:
            return Page([], {})
        orders = copy.deepcopy(starts[0][1])
        for event in events:
            if event.kind in ("accepted", "rejected"):
                orders[event.order_no] = Order(
                    event.order_no, f"o{event.order_no}", "client", event.side,
                    event.type or "limit", event.price_ticks, event.quantity_lots, "",
                    event.time_us,
                )  # fmt: skip
        return Page(events, orders)

    def store(self, before: Place, after: Place) -> None:
        world = self.world
        fault = world.fault("kill before", "kill after", "lost before", "lost after")
        if fault == "kill before":
            raise Killed
        if fault == "lost before":
            raise OutcomeUnknown("injected")
        if before.epoch != world.epoch:
            raise Fenced("injected by another")
        if before.sequence != world.sequence:
            raise Stale("another has stored")
        world.sequence, world.trade_no = after.sequence, after.trade_no
        if fault == "kill after":
            raise Killed
        if fault == "lost after":
            raise OutcomeUnknown("injected")

    def end(self, place: Place) -> None:
        pass


class Kafka:
    """Stands in for Publisher: each message is in its topic, or not; nothing overtakes."""

    def __init__(self, world: World) -> None:
        self.world = world

    def publish(self, messages: Sequence[Message], timeout_s: float, waiting: Any) -> None:
        world = self.world
        fault = world.fault("kill", "error", "sleep")
        stop = world.chance.randrange(len(messages) + 1) if fault else len(messages)
        self.write(messages[:stop])
        if fault == "kill":
            raise Killed
        if fault == "error":
            raise Unavailable("injected")
        if fault == "sleep" and not world.sleeping:
            # Longer than its lease; another mirror works meanwhile.
            world.sleeping = True
            slice_of(world, self)
            world.sleeping = False
        self.write(messages[stop:])

    def write(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.world.topics[message.topic].append(int(dict(message.headers)["number"]))


def slice_of(world: World, kafka: Kafka) -> None:
    try:
        mirror.mirror_slice(None, kafka, BTC_USD, page_length=PAGE_LENGTH)  # type: ignore[arg-type]
    except (AdapterError, Killed):
        pass


class Time:
    """Stands where the module `time` stands."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.1
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def standing_in(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(mirror, "time", Time())
    return monkeypatch


def problems(seed: int, standing_in: pytest.MonkeyPatch, kafka_kind: type[Kafka] = Kafka) -> str:
    """Mirror a whole log under faults; return what a reader would complain about first."""
    world = World(seed)
    standing_in.setattr(mirror, "MirrorLog", lambda *_: Log(world))
    for run in range(RUNS_MAX):
        if world.sequence == len(world.events):
            break
        world.calm = run > 200  # then it must get through
        # A killed process takes what it had in memory with it.
        slice_of(world, kafka_kind(world))
    else:
        return "not through"
    for topic, numbers in world.topics.items():
        last = 0
        for number in numbers:
            if number > last + 1:
                return f"{topic}: {number} follows {last}"
            last = max(last, number)
        if topic == EVENTS and last != len(world.events):
            return f"{topic} ends at {last} of {len(world.events)}"
    return ""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_reader_has_every_number_once_and_in_order(
    seed: int, standing_in: pytest.MonkeyPatch
) -> None:
    assert problems(seed, standing_in) == ""


class OffsetFirst(Kafka):
    """The offset is stored before Kafka has what it says: messages go out with the next ones."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.kept: list[Message] = []

    def publish(self, messages: Sequence[Message], timeout_s: float, waiting: Any) -> None:
        kept, self.kept = self.kept, list(messages)
        if kept:
            super().publish(kept, timeout_s, waiting)


class GoesOn(Kafka):
    """A message that Kafka did not take is left out, and what follows it is written."""

    def publish(self, messages: Sequence[Message], timeout_s: float, waiting: Any) -> None:
        lost = self.world.chance.randrange(len(messages)) if self.world.fault("error") else None
        self.write([message for n, message in enumerate(messages) if n != lost])


@pytest.mark.parametrize("planted", [OffsetFirst, GoesOn])
def test_a_planted_bug_is_found(planted: type[Kafka], standing_in: pytest.MonkeyPatch) -> None:
    def found() -> Iterator[int]:
        for seed in range(SEEDS):
            if problems(seed, standing_in, planted):
                yield seed

    needed = next(found(), None)
    print(f"{planted.__name__}: found by seed {needed}")
    assert needed is not None
    assert needed < 10
