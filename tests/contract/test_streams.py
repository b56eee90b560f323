"""The stream adapters against a real server: order, floors, epochs, fences."""

from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import redis

from workers.adapters import pubsub
from workers.adapters.errors import AdapterError, Fenced, OutcomeUnknown, StreamLost, Unavailable
from workers.adapters.pubsub import DepthReader, subscribe
from workers.adapters.streams import Append, Appended, OrderStream, StreamWriter
from workers.core.channels import changes_channel, first_order_key, reply_channel
from workers.core.depth import DepthDelta, DepthSnapshot

STREAM = "orders:{BTC-USD}"
WAITING_MAX = 1_000
KEY_TTL_MS = 60_000


def orders(*requests: bytes) -> list[Append]:
    return [Append("order", request.decode(), "client-A", "", request) for request in requests]


def keyed(order_id: str, key: str, kind: Literal["order", "again"] = "order") -> Append:
    return Append(kind, order_id, "client-A", key, order_id.encode())


@pytest.fixture
async def writer(redis_url: str) -> AsyncIterator[StreamWriter]:
    writer = StreamWriter(redis_url, WAITING_MAX, KEY_TTL_MS)
    yield writer
    await writer.close()


@pytest.fixture
async def stream(redis_url: str) -> AsyncIterator[OrderStream]:
    stream = OrderStream(redis_url, "BTC-USD", 5)
    await stream.open("0-0")
    yield stream
    await stream.close()


@pytest.fixture
def server(redis_url: str) -> "redis.Redis":
    with redis.from_url(redis_url) as server:
        yield server


async def read_all(stream: OrderStream) -> list[bytes | None]:
    return [payload for _, payload in await stream.read(1000, 1)]


async def test_nothing_is_appended_before_a_matcher_came(
    writer: StreamWriter, server: "redis.Redis"
) -> None:
    with pytest.raises(Unavailable):
        await writer.append("BTC-USD", orders(b"one"))
    assert not server.exists(STREAM)


async def test_entries_are_read_in_order_after_the_floor(
    writer: StreamWriter, stream: OrderStream
) -> None:
    await writer.append("BTC-USD", orders(*(b"%d" % n for n in range(600))))
    await writer.append("BTC-USD", orders(b"last"))
    assert await read_all(stream) == [None, *(b"%d" % n for n in range(600)), b"last"]
    assert await read_all(stream) == []


async def test_a_key_that_went_out_before_is_not_sent_again(
    writer: StreamWriter, stream: OrderStream, server: "redis.Redis"
) -> None:
    batch = [keyed("one", "k"), keyed("two", "k"), keyed("three", "other")]
    first, repeat, other = await writer.append("BTC-USD", batch)
    assert (first, repeat, other) == (Appended(), Appended(first_order_id="one"), Appended())
    assert await writer.append("BTC-USD", [keyed("two", "k")]) == [Appended(first_order_id="one")]
    # Another client's key, and another instrument's, are other keys.
    assert await writer.append("BTC-USD", [Append("order", "four", "client-B", "k", b"four")]) == [
        Appended()
    ]
    # Whoever has looked into PostgreSQL may send it.
    assert await writer.append("BTC-USD", [keyed("two", "k", "again")]) == [Appended()]
    assert await read_all(stream) == [None, b"one", b"three", b"four", b"two"]
    key = first_order_key("BTC-USD", "client-A", "k")
    assert server.get(key) == b"two"
    assert 0 < server.pttl(key) <= KEY_TTL_MS


async def test_orders_are_refused_when_too_many_wait_and_cancels_pass_longer(
    redis_url: str, stream: OrderStream
) -> None:
    writer = StreamWriter(redis_url, 8, KEY_TTL_MS)
    cancel = Append("cancel", "x", "", "", b"cancel")
    # The floor marker waits, too.
    results = await writer.append("BTC-USD", orders(*(b"%d" % n for n in range(9))))
    assert results == [Appended()] * 7 + [Appended(refused=True)] * 2
    results = await writer.append("BTC-USD", [cancel, keyed("one", "k"), cancel, cancel])
    assert results == [
        Appended(), Appended(refused=True), Appended(), Appended(refused=True),
    ]  # fmt: skip
    assert await read_all(stream) == [None, *(b"%d" % n for n in range(7)), b"cancel", b"cancel"]
    # What was refused has not used up its key.
    roomy = StreamWriter(redis_url, WAITING_MAX, KEY_TTL_MS)
    assert await roomy.append("BTC-USD", [keyed("one", "k")]) == [Appended()]
    await writer.close()
    await roomy.close()


async def test_ids_go_on_after_the_position_though_the_data_is_lost(
    redis_url: str, writer: StreamWriter, server: "redis.Redis"
) -> None:
    position = "99999999999999-7"  # ahead of this server's clock, as after its clock went back
    stream = OrderStream(redis_url, "BTC-USD", 5)
    await stream.open(position)
    await writer.append("BTC-USD", orders(b"one"))
    assert await read_all(stream) == [None, b"one"]
    await stream.check(position)
    server.flushall()
    with pytest.raises(StreamLost):
        await stream.check(position)
    with pytest.raises(Unavailable):
        await writer.append("BTC-USD", orders(b"lost"))
    with pytest.raises(AdapterError):
        await stream.read(10, 1)
    await stream.close()
    again = OrderStream(redis_url, "BTC-USD", 6)
    await again.open(position)
    await writer.append("BTC-USD", orders(b"two"))
    assert await read_all(again) == [None, b"two"]
    assert again.age_us("99999999999999-8", 1_700_000_000_000_000) == 0
    await again.close()


async def test_an_epoch_starts_at_the_position_and_ends_the_groups_before_it(
    redis_url: str, writer: StreamWriter, stream: OrderStream, server: "redis.Redis"
) -> None:
    await writer.append("BTC-USD", orders(b"one", b"two", b"three"))
    entries = await stream.read(10, 1)
    later = OrderStream(redis_url, "BTC-USD", 6)
    assert await later.open(entries[1][0])
    assert await read_all(later) == [b"two", b"three"]
    assert [group["name"] for group in server.xinfo_groups(STREAM)] == [b"matcher-6"]
    with pytest.raises(Unavailable):
        await stream.read(10, 1)  # a zombie reads nothing
    await later.close()


async def test_entries_deleted_unread_are_noticed(
    redis_url: str, writer: StreamWriter, stream: OrderStream, server: "redis.Redis"
) -> None:
    await writer.append("BTC-USD", orders(b"one", b"two"))
    (_, one), (two, _) = (await stream.read(10, 1))[1:]
    assert one == b"one"
    later = OrderStream(redis_url, "BTC-USD", 6)
    server.xdel(STREAM, two)
    assert not await later.open("0-1")
    await later.close()


async def test_publish(
    redis_url: str, writer: StreamWriter, stream: OrderStream, server: "redis.Redis"
) -> None:
    reader = DepthReader(redis_url)
    assert await reader.snapshot("BTC-USD") is None
    await stream.publish_depth(DepthSnapshot(3, [(10, 1), (9, 2)], [(11, 10**20 - 1)]))
    assert await reader.snapshot("BTC-USD") == DepthSnapshot(
        3, [(10, 1), (9, 2)], [(11, 10**20 - 1)]
    )
    await writer.append("BTC-USD", orders(b"one", b"two"))
    entries = await stream.read(10, 1)
    ids = [stream_id for stream_id, _ in entries]
    replies = subscribe(redis_url, [reply_channel("me"), changes_channel("BTC-USD")])
    assert await anext(replies) is None
    delta = DepthDelta(3, 5, [(10, 0), (8, 4)], [])
    assert await stream.publish(ids[-1], delta, b"news", [(reply_channel("me"), b"hello")], ids)
    assert await anext(replies) == (changes_channel("BTC-USD"), b"news")
    assert await anext(replies) == (reply_channel("me"), b"hello")
    # A batch without events is no news.
    same = DepthDelta(5, 5, [], [])
    assert await stream.publish(ids[-1], same, b"none", [(reply_channel("me"), b"again")], [])
    assert await anext(replies) == (reply_channel("me"), b"again")
    snapshot = await reader.snapshot("BTC-USD")
    assert snapshot is not None
    assert (snapshot.sequence, sorted(snapshot.bids)) == (5, [(8, 4), (9, 2)])
    assert server.xpending(STREAM, "matcher-5")["pending"] == 0
    # A delta that does not fit what is published is not applied.
    assert not await stream.publish(ids[-1], DepthDelta(7, 8, [(1, 1)], []), b"", [], [])
    assert await reader.snapshot("BTC-USD") == snapshot
    await replies.aclose()
    await reader.close()


async def test_a_zombie_publishes_nothing(
    redis_url: str, stream: OrderStream, server: "redis.Redis"
) -> None:
    later = OrderStream(redis_url, "BTC-USD", 6)
    await later.open("0-1")
    await later.publish_depth(DepthSnapshot(3, [(10, 1)], []))
    before = server.hgetall("depth:{BTC-USD}"), server.xinfo_stream(STREAM)["length"]
    replies = subscribe(redis_url, [reply_channel("me"), changes_channel("BTC-USD")])
    assert await anext(replies) is None
    with pytest.raises(Fenced):
        await stream.publish(
            "9-9", DepthDelta(3, 4, [], []), b"no", [(reply_channel("me"), b"no")], []
        )
    with pytest.raises(Fenced):
        await stream.publish_depth(DepthSnapshot(9, [], []))
    assert (server.hgetall("depth:{BTC-USD}"), server.xinfo_stream(STREAM)["length"]) == before
    server.publish(reply_channel("me"), b"first")
    assert await anext(replies) == (reply_channel("me"), b"first")
    await replies.aclose()
    await later.close()


async def test_a_subscription_that_is_cut_says_so(redis_url: str, server: "redis.Redis") -> None:
    messages = subscribe(redis_url, ["here"])
    assert await anext(messages) is None
    (client,) = server.client_list(_type="pubsub")
    server.client_kill(client["addr"])
    with pytest.raises(OutcomeUnknown):
        await anext(messages)


async def test_nobody_there_is_a_certain_refusal() -> None:
    writer = StreamWriter("redis://127.0.0.1:1/0", WAITING_MAX, KEY_TTL_MS)
    with pytest.raises(Unavailable):
        await writer.append("BTC-USD", orders(b"one"))
    messages = subscribe("redis://127.0.0.1:1/0", ["here"])
    with pytest.raises(Unavailable):
        await anext(messages)
    await writer.close()


async def test_a_subscription_that_falls_silent_says_so(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "SILENCE_MAX_S", 0.1)
    publisher = pubsub.Publisher(redis_url)
    messages = subscribe(redis_url, ["here"])
    assert await anext(messages) is None
    await publisher.publish("here", b"heartbeat")
    assert await anext(messages) == ("here", b"heartbeat")
    with pytest.raises(OutcomeUnknown):
        await anext(messages)
    await publisher.close()


async def test_what_is_applied_does_not_count_as_waiting_after_a_crash(
    redis_url: str, stream: OrderStream
) -> None:
    writer = StreamWriter(redis_url, 8, KEY_TTL_MS)
    await writer.append("BTC-USD", orders(*(b"%d" % n for n in range(7))))
    entries = await stream.read(10, 1)
    # They were committed; the matcher died before it could publish and trim.
    later = OrderStream(redis_url, "BTC-USD", 6)
    await later.open(entries[-1][0])
    assert await writer.append("BTC-USD", orders(b"next")) == [Appended()]
    assert await read_all(later) == [b"next"]
    await writer.close()
    await later.close()


@pytest.mark.parametrize("steps", range(1, 5))
async def test_a_zombie_held_up_within_its_depth_spoils_nothing(
    redis_url: str, stream: OrderStream, steps: int
) -> None:
    later = OrderStream(redis_url, "BTC-USD", 6)
    reader = DepthReader(redis_url)
    whole = DepthSnapshot(3, [(10, 1)], [(12, 2)])
    reset = stream._reset_depth

    async def held_up(*arguments: Any) -> Any:
        nonlocal steps
        steps -= 1
        if steps == 0:
            await later.publish_depth(whole)
        return await reset(*arguments)

    stream._reset_depth = held_up  # type: ignore[assignment]
    with pytest.raises(Fenced):
        await stream.publish_depth(DepthSnapshot(9, [(8, 9)], [(14, 9)]))
    assert await reader.snapshot("BTC-USD") == whole
    await later.close()
    await reader.close()
