"""How matchers share instruments, played through without any server."""

import itertools

import pytest

from workers.adapters.shards import Roster
from workers.matching.share import Share, share_of

LEASE_S = 2.0
LOOK_S = 0.5


class World:
    """Matchers that look around in turn; whoever takes has it at once."""

    def __init__(self, instruments: int) -> None:
        self.instruments = instruments
        self.shares: dict[str, Share] = {}
        self.owner: dict[int, str] = {}
        self.now = 0.0
        self.hand_overs = 0
        # Those that live but cannot take anything.
        self.unable: set[str] = set()

    def join(self, name: str) -> None:
        self.shares[name] = Share(LEASE_S)

    def leave(self, name: str) -> None:
        del self.shares[name]
        self.owner = {n: owner for n, owner in self.owner.items() if owner != name}

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            for place, name in enumerate(sorted(self.shares)):
                free = [n for n in range(1, self.instruments + 1) if n not in self.owner]
                roster = Roster(len(self.shares), place, self.instruments, free, None)
                share = self.shares[name]
                for n in share.to_take(roster, self.held(name), self.now):
                    if name not in self.unable:
                        self.owner[n] = name
                        self.hand_overs += 1
                given = share.to_give_back(roster, self.held(name), self.now)
                if given is not None:
                    del self.owner[given]

    def held(self, name: str) -> list[int]:
        return [n for n, owner in self.owner.items() if owner == name]

    def counts(self) -> list[int]:
        return sorted(len(self.held(name)) for name in self.shares)


@pytest.mark.parametrize(
    ("instruments", "matchers", "counts"),
    [(3, 1, [3]), (3, 2, [1, 2]), (3, 6, [0, 0, 0, 1, 1, 1]), (8, 3, [2, 3, 3]), (0, 2, [0, 0])],
)
def test_evenly_from_the_start(instruments: int, matchers: int, counts: list[int]) -> None:
    world = World(instruments)
    for number in range(matchers):
        world.join(f"m{number}")
    world.run(1)
    assert world.counts() == counts
    hand_overs = world.hand_overs
    world.run(600)
    assert world.hand_overs == hand_overs, "nothing moves without a reason"


def test_one_that_joins_gets_its_share_after_a_while() -> None:
    world = World(4)
    world.join("a")
    world.run(60)
    world.join("b")
    world.run(5)
    assert world.counts() == [0, 4], "not before the matchers have settled"
    world.run(10)
    assert world.counts() == [2, 2]
    assert world.hand_overs == 6


def test_what_a_dead_one_held_is_shared() -> None:
    world = World(6)
    for name in "abc":
        world.join(name)
    world.run(2)
    world.leave("b")
    world.run(LOOK_S)
    assert world.counts() == [3, 3]


def test_matchers_that_come_and_go_do_not_make_instruments_move() -> None:
    world = World(4)
    world.join("a")
    world.run(60)
    for n in range(10):
        world.join(f"b{n}")
        world.run(2)
        world.leave(f"b{n}")
        world.run(2)
    assert world.hand_overs == 4


def test_one_that_cannot_take_its_share_does_not_stop_trading() -> None:
    world = World(4)
    world.unable.add("b")
    world.join("a")
    world.join("b")
    world.run(5)
    assert world.counts() == [0, 4]
    hand_overs = world.hand_overs
    world.run(60)
    # It is tried again, seldom.
    assert world.hand_overs - hand_overs <= 60 / (3 * LEASE_S)
    assert len(world.owner) >= 3


def test_shares_always_suffice() -> None:
    for instruments, matchers in itertools.product(range(20), range(20)):
        roster = Roster(matchers, 0, instruments, [], None)
        assert share_of(roster) * max(1, matchers) >= instruments
