"""Bugs put in on purpose: a tester that does not find them is not to be believed.

Each is what a hurried change could do. They stand in for a function of the product, or of the
simulated servers where the product's text is SQL or Lua; never in the product itself.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from api import trading
from api.submit import Submitter
from tests.simulation import redis_server
from tests.simulation.postgres_server import Functions
from workers.adapters.errors import Fenced, OutcomeUnknown, Unavailable
from workers.adapters.ledger import Ledger
from workers.adapters.streams import OrderStream, StreamWriter, next_position
from workers.core.depth import DepthReplica
from workers.core.engine import MatchingEngine
from workers.core.messages import SubmitOrder
from workers.core.records import OrderRecord
from workers.matching import loop, recovery

Patch = tuple[Any, str, Any]


@dataclass
class Plant:
    """A bug, and within how many seeds it must be found, with most of `faults` turned on.

    Without a choice of faults the swarm of an ordinary run must find it.
    """

    name: str
    seeds: int
    patches: Callable[[], list[Patch]]
    faults: frozenset[str] | None = None

    @contextlib.contextmanager
    def __call__(self, world: Any) -> Iterator[None]:
        changed = []
        try:
            for place, name, value in self.patches():
                changed.append((place, name, place.__dict__[name]))
                setattr(place, name, value)
            yield
        finally:
            for place, name, value in reversed(changed):
                setattr(place, name, value)


def _reply_before_commit() -> list[Patch]:
    real = Ledger.commit
    background = []

    async def commit(self: Ledger, parameters: Any) -> None:
        async def quietly() -> None:
            with contextlib.suppress(Exception):
                await real(self, parameters)

        background.append(asyncio.create_task(quietly()))

    return [(Ledger, "commit", commit)]


def _swallow(*kinds: type[Exception]) -> Callable[..., Any]:
    real = Ledger.commit

    async def commit(self: Ledger, parameters: Any) -> None:
        with contextlib.suppress(*kinds):
            await real(self, parameters)

    return commit


def _published_though_refused() -> list[Patch]:
    return [(Ledger, "commit", _swallow(Exception))]


def _reply_from_a_zombie() -> list[Patch]:
    return [(Ledger, "commit", _swallow(Fenced)), *_zombie_publishes()]


def _script(name: str, old: str, new: str) -> Patch:
    real = redis_server.script_text

    def script_text(asked: str) -> str:
        text = real(asked)
        if asked == name:
            assert old in text
            return text.replace(old, new)
        return text

    return (redis_server, "script_text", script_text)


def _zombie_publishes() -> list[Patch]:
    return [_script("publish.lua", "published > epoch", "false")]


def _no_epoch_check() -> list[Patch]:
    real = Functions.commit_batch

    def commit_batch(self: Functions, number: int, epoch: int, *rest: Any) -> Any:
        later = self.tables.shard[number].epoch
        self.tables.shard[number] = self.tables.shard[number]._replace(epoch=epoch)
        result = real(self, number, epoch, *rest)
        self.tables.shard[number] = self.tables.shard[number]._replace(epoch=later)
        return result

    return [(Functions, "commit_batch", commit_batch)]


def _position_not_compared() -> list[Patch]:
    real = Functions.commit_batch

    def commit_batch(self: Functions, number: int, epoch: int, start: str, *rest: Any) -> Any:
        return real(self, number, epoch, self.tables.shard[number].last_stream_id, *rest)

    return [(Functions, "commit_batch", commit_batch)]


def _no_floor() -> list[Patch]:
    async def raise_floor(self: Any, position: str) -> None:
        if await self._last_id() is None:
            await self._writes.xadd(self._key, {"floor": ""})

    return [(OrderStream, "_raise_floor", raise_floor)]


def _append_again() -> list[Patch]:
    real = StreamWriter.append

    async def append(self: StreamWriter, instrument: str, requests: Any) -> Any:
        try:
            return await real(self, instrument, requests)
        except OutcomeUnknown:
            return await real(self, instrument, requests)

    return [(StreamWriter, "append", append)]


def _lost_is_refused() -> list[Patch]:
    real = StreamWriter.append

    async def append(self: StreamWriter, instrument: str, requests: Any) -> Any:
        try:
            return await real(self, instrument, requests)
        except OutcomeUnknown as error:
            raise Unavailable(str(error)) from error

    return [(StreamWriter, "append", append)]


def _ack_on_append() -> list[Patch]:
    real = Submitter.submit

    async def submit(self: Any, instrument: Any, command: Any, *, again: bool = False) -> Any:
        if not isinstance(command, SubmitOrder):
            return await real(self, instrument, command, again=again)
        answer = self.send(instrument, command, again=again)
        while self._outgoing or not self._sender.done():
            if answer.done():
                return answer.result()
            await asyncio.sleep(0.001)
        if answer.done():
            return answer.result()
        return OrderRecord(
            command.order_id, 1, command.client_id, instrument.instrument, command.side,
            command.type, command.price_ticks, command.quantity_lots, 0, 0, "open", "",
            command.idempotency_key, 0, 0,
        )  # fmt: skip

    return [(Submitter, "submit", submit)]


def _priority_lost() -> list[Patch]:
    def reloaded(sequence: int, order_no: int, trade_no: int, resting: Any) -> MatchingEngine:
        engine = MatchingEngine(sequence, order_no, trade_no)
        for order in reversed(list(resting)):
            engine.book.add(order)
        engine.book.bids.take_changes()
        engine.book.asks.take_changes()
        return engine

    return [(recovery, "MatchingEngine", reloaded)]


def _keys_not_looked_up() -> list[Patch]:
    real = Ledger.find_first_orders

    async def find(self: Ledger, order_ids: Any, keys: Any) -> Any:
        return await real(self, order_ids, [])

    return [(Ledger, "find_first_orders", find)]


def _trim_before_commit() -> list[Patch]:
    real = OrderStream.read

    async def read(self: Any, count: int, block_ms: int) -> Any:
        entries = await real(self, count, block_ms)
        if entries:
            await self._writes.xtrim(self._key, minid=next_position(entries[-1][0]))
        return entries

    return [(OrderStream, "read", read)]


def _stale_depth() -> list[Patch]:
    async def publish_depth(self: Any, snapshot: Any) -> None:
        pass

    return [(OrderStream, "publish_depth", publish_depth)]


def _gap_not_noticed() -> list[Patch]:
    real = DepthReplica.apply

    def apply(self: Any, delta: Any) -> bool:
        return real(self, delta._replace(prev_sequence=self.sequence))

    return [(DepthReplica, "apply", apply)]


def _other_body_accepted() -> list[Patch]:
    return [
        (trading, "judge", lambda *_: "duplicate"),
        (loop, "judge", lambda *_: "duplicate"),
    ]


def _commit_left_behind() -> list[Patch]:
    """The loop as it was: a commit that was begun when the loop ended went on by itself."""

    class Left:
        """Stands for the module asyncio within the loop."""

        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

        @staticmethod
        def create_task(work: Any) -> Any:
            task = asyncio.create_task(work)

            class Unfinished:
                """A task that says it is done, so that nobody waits for its end."""

                def done(self) -> bool:
                    return True

                def __await__(self) -> Any:
                    return task.__await__()

            return Unfinished()

    return [(loop, "asyncio", Left())]


# What makes owners of a lease lose it, and wake up later.
ZOMBIES = frozenset(("pause matcher", "stall", "postgres clock", "slow", "doubled"))
LOSSES = frozenset(("flush redis", "delete stream", "lose tail", "redis clock"))

PLANTS = (
    Plant("reply before commit", 10, _reply_before_commit),
    Plant("published though the commit was refused", 20, _published_though_refused),
    Plant("no epoch check in the commit", 20, _no_epoch_check, ZOMBIES),
    Plant("position not compared in the commit", 40, _position_not_compared, ZOMBIES),
    Plant("a zombie publishes", 40, _zombie_publishes, ZOMBIES),
    Plant("reply from a zombie", 40, _reply_from_a_zombie, ZOMBIES),
    Plant("no floor marker", 20, _no_floor, LOSSES),
    Plant("an append is sent again", 40, _append_again),
    Plant("an append without an answer is called refused", 40, _lost_is_refused),
    Plant("acknowledged on append", 10, _ack_on_append),
    Plant("priority lost on reload", 40, _priority_lost),
    Plant("keys not looked up", 20, _keys_not_looked_up),
    Plant("trimmed before the commit", 10, _trim_before_commit),
    Plant("depth not published at take-over", 10, _stale_depth),
    Plant(
        "a gap in the depth not noticed", 20, _gap_not_noticed,
        frozenset(("lost message", "cut subscription")),
    ),
    Plant("another body gets the first answer", 10, _other_body_accepted),
    Plant(
        "a commit is left behind", 300, _commit_left_behind,
        frozenset(("restart redis", "delete stream", "refused", "lost reply", "destroy group")),
    ),
)  # fmt: skip
