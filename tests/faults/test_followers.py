"""The WebSocket clients of the campaigns notice what they must: holes, wrong books, silence."""

import asyncio
from typing import Any

import pytest

from ops.faulting.extent import BOUNDS, Extents
from ops.faulting.followers import Follower


def book(sequence: int, *, prev: int | None = None, **levels: int) -> dict[str, Any]:
    """Return a snapshot, or a delta after `prev`; levels are b<price> and a<price>."""
    sides: dict[str, list[dict[str, int]]] = {"b": [], "a": []}
    for name, quantity in levels.items():
        sides[name[0]].append({"price": int(name[1:]), "quantity": quantity})
    data: dict[str, Any] = {"sequence": sequence, "bids": sides["b"], "asks": sides["a"]}
    data |= {"snapshot": True} if prev is None else {"snapshot": False, "prev_sequence": prev}
    return {"type": "orderbook", "data": data}


def trade(number: int) -> dict[str, Any]:
    return {"type": "trades", "data": {"trade_no": number, "sequence": 2 * number}}


RESYNC = {"type": "resync", "data": {"sequence": 20, "trades": [trade(10)["data"]]}}
EMPTY_RESYNC = {"type": "resync", "data": {"sequence": 20, "trades": []}}


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([book(5, b99=1), book(7, prev=5, b99=0, b98=2), book(8, prev=7, a101=1)], ""),
        ([book(5, b99=1), book(7, prev=6, b99=0)], "6 follows 5"),
        ([book(7, prev=5, b99=1)], "5 follows -1"),
        ([book(5), book(9), book(10, prev=9)], ""),  # the server says that it starts anew
        ([trade(1), trade(2), trade(3)], ""),
        ([trade(1), trade(3)], "trade 3 follows 1"),
        ([trade(2)], "trade 2 follows 0"),
        ([trade(1), trade(1)], "trade 1 follows 1"),
        ([trade(1), RESYNC, trade(11)], ""),
        ([trade(1), RESYNC, trade(12)], "trade 12 follows 10"),
        ([trade(1), EMPTY_RESYNC, trade(12), trade(13)], ""),
        ([{"type": "error", "error": "invalid_request"}], "invalid_request"),
        # What begins and ends within a batch.
        ([book(5), book(6, prev=5, b99=0)], ""),
    ],
)
def test_holes(messages: list[dict[str, Any]], problem: str) -> None:
    follower = Follower("BTC-USD")
    for message in messages:
        follower.take(message)
    assert bool(follower.problems) == bool(problem)
    assert all(problem in found for found in follower.problems)


@pytest.mark.parametrize(
    ("wanted", "same", "problem"),
    [
        ((8, {98: 2}, {101: 1}), True, False),
        ((7, {98: 2}, {}), True, False),
        ((7, {98: 2}, {102: 1}), False, True),
        ((7, {99: 1}, {}), False, True),
        # It went past that without having stood there: nothing can be said.
        ((6, {}, {}), False, False),
    ],
)
async def test_books(wanted: Any, same: bool, problem: bool) -> None:
    follower = Follower("BTC-USD")
    follower.take(book(5, b99=1))
    follower.wanted, follower.same = wanted, asyncio.get_running_loop().create_future()
    follower.compare()
    assert not follower.same.done()
    follower.take(book(7, prev=5, b99=0, b98=2))
    follower.take(book(8, prev=7, a101=1))
    assert await follower.same is same
    assert bool(follower.problems) is problem


def test_a_server_that_starts_is_asked_again() -> None:
    with pytest.raises(ConnectionError):
        Follower("BTC-USD").take({"type": "error", "error": "unavailable", "message": "starting"})


def test_every_kind_of_process_has_bounds() -> None:
    assert BOUNDS.keys() == {"web", "matcher", "jobs", "postgres", "valkey"}
    assert Extents().most == {}
