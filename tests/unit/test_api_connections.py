"""Fan-out in rounds: every frame once, in order, and none from before a client joined."""

import asyncio
from collections.abc import Callable
from typing import Any

from api.connections import ROUND_PIECE, Channel


class Follower:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.got = b""
        self.writes = 0
        self.on_offer: Callable[[], Any] = lambda: None

    def offer(self, data: bytes) -> None:
        self.got += data
        self.writes += 1
        self.on_offer()


def join(channel: Channel) -> Follower:
    follower = Follower()
    channel.join(follower)  # type: ignore[arg-type]
    return follower


async def test_what_gathers_goes_out_together() -> None:
    channel = Channel("trades", "BTC-USD")
    follower = join(channel)
    for letter in b"abc":
        channel.publish(bytes([letter]))
    await channel.written()
    assert (follower.got, follower.writes) == (b"abc", 1)


async def test_who_joins_gets_what_is_published_from_then_on() -> None:
    channel = Channel("trades", "BTC-USD")
    early = join(channel)
    channel.publish(b"a")
    late = join(channel)
    channel.publish(b"b")
    await channel.written()
    channel.publish(b"c")
    await channel.written()
    assert (early.got, late.got) == (b"abc", b"bc")


async def test_who_joins_anew_during_a_round_gets_nothing_of_it() -> None:
    """A fresh start shows what that round says already."""
    channel = Channel("orderbook", "BTC-USD")
    followers = [join(channel) for _ in range(3 * ROUND_PIECE)]
    last = followers[-1]

    def start_anew() -> None:
        channel.live.pop(last)  # type: ignore[call-overload]
        channel.join(last)  # type: ignore[arg-type]

    followers[0].on_offer = start_anew
    channel.publish(b"a")
    await channel.written()
    followers[0].on_offer = lambda: None
    channel.publish(b"b")
    await channel.written()
    assert last.got == b"b"
    assert {follower.got for follower in followers[:-1]} == {b"ab"}


async def test_who_leaves_during_a_round_gets_no_more() -> None:
    channel = Channel("trades", "BTC-USD")
    followers = [join(channel) for _ in range(3 * ROUND_PIECE)]
    followers[0].on_offer = lambda: channel.live.pop(followers[-1], None)  # type: ignore[call-overload]
    channel.publish(b"a")
    await channel.written()
    assert followers[-1].got == b""


async def test_a_round_lets_others_run_and_what_comes_meanwhile_is_the_next() -> None:
    channel = Channel("trades", "BTC-USD")
    followers = [join(channel) for _ in range(10 * ROUND_PIECE)]
    channel.publish(b"a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert followers[0].got == b"a"
    assert followers[-1].got == b""
    channel.publish(b"b")
    await channel.written()
    assert {(follower.got, follower.writes) for follower in followers} == {(b"ab", 2)}
