"""The feed against a real server: what it does when messages are missing."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio

from api import feed as feed_module
from api.books import Book
from api.feed import Feed
from api.history import History
from workers.adapters.pubsub import DepthReader, Publisher
from workers.core.channels import changes_channel, depth_channel, reply_channel
from workers.core.codec import encode_changes, encode_delta, encode_reset
from workers.core.depth import DepthDelta
from workers.core.records import Changes
from workers.metrics import Metrics

PATIENCE_S = 10.0


class Database:
    """Knows what was committed up to a sequence, and can be away."""

    def __init__(self) -> None:
        self.sequence = 0
        self.asked: list[int] = []
        self.away = asyncio.Event()
        self.away.set()

    async def changes(self, _: int, after: int, limit: int) -> tuple[int, Changes | None]:
        self.asked.append(after)
        await self.away.wait()
        if not 0 <= self.sequence - after <= limit:
            return self.sequence, None
        return self.sequence, Changes(after, self.sequence, (), ())


class Relay:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.timeline = 0

    def delta(self, name: str, delta: DepthDelta) -> None:
        self.told.append(("delta", delta.prev_sequence, delta.sequence))

    def is_followed(self, name: str) -> bool:
        return True

    def changes(self, name: str, changes: Changes) -> None:
        self.told.append(("changes", changes.prev_sequence, changes.sequence))

    def restart(self, name: str, *kinds: str) -> None:
        self.told.append(("restart", *kinds))


class Setting:
    """A feed of one instrument, and everything around it."""

    def __init__(self, redis_url: str, *, beats: bool = True) -> None:
        self.server = redis.asyncio.from_url(redis_url)
        self.database = Database()
        self.relay = Relay()
        self.metrics = Metrics()
        self.books: dict[str, Book] = {}
        self.histories: dict[str, History] = {}
        self.looked_up = 0
        self._publisher = Publisher(redis_url)
        self._reader = DepthReader(redis_url)
        instrument = SimpleNamespace(instrument_id=1)

        async def known() -> list[str]:
            return ["BTC-USD"]

        def look_up(names: object) -> None:
            self.looked_up += 1

        self.instruments = SimpleNamespace(
            names=["BTC-USD"], wait_known=known, get=lambda _: instrument, timeline=1
        )
        self.feed = Feed(
            edge_id="me",
            redis_url=redis_url,
            reader=self._reader,
            publisher=self._publisher,
            lookups=self.database,  # type: ignore[arg-type]
            instruments=self.instruments,  # type: ignore[arg-type]
            submitter=SimpleNamespace(look_up=look_up, observe=lambda: None),  # type: ignore[arg-type]
            relay=self.relay,  # type: ignore[arg-type]
            books=self.books,
            histories=self.histories,
            metrics=self.metrics,
        )
        self._tasks = [asyncio.create_task(self.feed.run())]
        if beats:
            self._tasks.append(asyncio.create_task(self.feed.beat()))

    @property
    def history(self) -> History:
        return self.histories["BTC-USD"]

    def reconnects(self) -> float:
        return self.metrics.feed_reconnects._value.get()

    async def publish_depth(self, sequence: int) -> None:
        """Be the matcher that takes over: complete depth at `sequence`, and a notice of it."""
        await self.server.hset("depth:{BTC-USD}", mapping={"epoch": 1, "sequence": sequence})
        await self.server.publish(depth_channel("BTC-USD"), encode_reset(sequence, 1))

    async def publish(self, prev_sequence: int, sequence: int) -> None:
        """Be the matcher that committed a batch."""
        await self.server.hset("depth:{BTC-USD}", "sequence", sequence)
        delta = DepthDelta(prev_sequence, sequence, [(1, 1)], [])
        await self.server.publish(depth_channel("BTC-USD"), encode_delta(delta, 1))
        changes = Changes(prev_sequence, sequence, (), ())
        await self.server.publish(changes_channel("BTC-USD"), encode_changes(changes, 1))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.feed.close()
        await self._publisher.close()
        await self._reader.close()
        await self.server.aclose()


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
async def setting(redis_url: str) -> AsyncIterator[Setting]:
    """A feed that listens, at sequence 10."""
    setting = Setting(redis_url)
    setting.database.sequence = 10
    await setting.publish_depth(10)
    await until(
        lambda: (
            setting.histories
            and setting.history.sequence == 10
            and setting.books["BTC-USD"].sequence == 10
            and not setting.feed._backlogs
        )
    )
    setting.relay.told.clear()
    yield setting
    await setting.close()


async def test_what_follows_on_is_passed_on(setting: Setting) -> None:
    await setting.publish(10, 11)
    await setting.publish(11, 13)
    await until(lambda: len(setting.relay.told) == 4)
    assert setting.relay.told == [
        ("delta", 10, 11), ("changes", 10, 11), ("delta", 11, 13), ("changes", 11, 13),
    ]  # fmt: skip
    # What came before is not told again.
    await setting.publish(10, 11)
    await setting.publish(13, 14)
    await until(lambda: len(setting.relay.told) == 6)
    assert setting.relay.told[4:] == [("delta", 13, 14), ("changes", 13, 14)]


async def test_a_gap_is_filled_before_what_comes_behind_it(setting: Setting) -> None:
    setting.database.sequence = 13
    setting.database.away.clear()
    await setting.publish(12, 13)
    await setting.publish(13, 15)
    await until(lambda: ("delta", 13, 15) in setting.relay.told)
    # The book was read from Redis at once; trades and orders wait for the database.
    assert [told for told in setting.relay.told if told[0] == "changes"] == []
    setting.database.away.set()
    await until(lambda: setting.history.sequence == 15)
    assert [told for told in setting.relay.told if told[0] == "changes"] == [
        ("changes", 10, 13), ("changes", 13, 15),
    ]  # fmt: skip
    assert ("restart", "orderbook") in setting.relay.told
    assert setting.metrics.feed_gaps_repaired("BTC-USD")._value.get() == 2


async def test_a_gap_too_long_to_fill_is_a_fresh_start(setting: Setting) -> None:
    setting.database.sequence = 20_000
    await setting.publish(19_999, 20_000)
    await until(lambda: setting.history.sequence == 20_000)
    assert ("restart", "trades", "orders") in setting.relay.told
    await setting.publish(20_000, 20_001)
    await until(lambda: ("changes", 20_000, 20_001) in setting.relay.told)


async def test_a_take_over_tells_what_its_predecessor_did_not(setting: Setting) -> None:
    """The batch 10 to 12 was committed, and its matcher died before it could publish it."""
    setting.database.sequence = 12
    before = setting.looked_up
    await setting.publish_depth(12)
    await until(lambda: ("changes", 10, 12) in setting.relay.told)
    assert setting.books["BTC-USD"].sequence == 12
    assert setting.looked_up == before + 1


async def test_a_database_that_went_back_is_a_fresh_start(setting: Setting) -> None:
    setting.database.sequence = 4
    await setting.publish_depth(4)
    await until(lambda: setting.history.sequence == 4)
    assert ("restart", "trades", "orders") in setting.relay.told
    await setting.publish(4, 5)
    await until(lambda: ("changes", 4, 5) in setting.relay.told)
    assert ("delta", 4, 5) in setting.relay.told


async def test_another_timeline_is_a_fresh_start_of_everything(setting: Setting) -> None:
    """Restored, and further by now than what was heard before: no sequence tells the difference."""
    setting.database.sequence = 12
    await setting.server.hset("depth:{BTC-USD}", mapping={"epoch": 2, "sequence": 12})
    setting.instruments.timeline = 2
    await until(lambda: ("restart", "orderbook", "trades", "orders") in setting.relay.told)
    await until(lambda: setting.history.sequence == 12)
    await until(lambda: setting.books["BTC-USD"].sequence == 12)
    # What differs from what was heard is nobody's news: who follows is told by the restart.
    assert not any(told[0] == "changes" for told in setting.relay.told)
    await setting.publish(12, 13)
    await until(lambda: ("changes", 12, 13) in setting.relay.told)
    assert setting.relay.timeline == 2


async def test_a_lost_heartbeat_makes_the_subscription_anew(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other messages still come, so the connection looks well; our own do not come back."""
    monkeypatch.setattr(feed_module, "HEARTBEAT_LOST_S", 0.2)
    setting = Setting(redis_url, beats=False)
    await setting.publish_depth(0)
    async with asyncio.timeout(PATIENCE_S):
        sequence = 0
        while setting.reconnects() < 2:
            setting.database.sequence = sequence + 1
            await setting.publish(sequence, sequence + 1)
            sequence += 1
            await asyncio.sleep(0.005)
    await setting.close()


async def test_heartbeats_keep_a_quiet_subscription(setting: Setting) -> None:
    """And they are what keeps it: their channel is the one of the replies."""
    async with setting.server.pubsub() as listener:
        await listener.subscribe(reply_channel("me"))
        beats = 0
        async with asyncio.timeout(PATIENCE_S):
            async for message in listener.listen():
                beats += message["type"] == "message"
                if beats == 3:
                    break
    assert setting.reconnects() == 0
