"""Which nodes a URL names, and what they say of each other."""

from typing import Any

import pytest
from redis.exceptions import ConnectionError

from workers.adapters.cluster import Address, Nodes, is_cluster

A, B, C = ("a", 1), ("b", 2), ("c", 3)
# {BTC-USD} is in slot 7386, {ETH-USD} in 10593. A node that does not know its name says nothing.
SLOTS = [[0, 7_999, [b"", 1, b"id-a"]], [8_000, 16_383, [b"c", 3, b"id-c"], [b"d", 4, b"id-d"]]]


class Answering(Nodes):
    """Nodes of which some answer, with what they say."""

    answers: dict[Address, list[Any]]

    def _ask(self, address: Address) -> list[Any]:
        if address not in self.answers:
            raise ConnectionError("refused")
        return self.answers[address]


def nodes(url: str, answers: dict[Address, list[Any]]) -> Nodes:
    made = Answering(url)
    made.answers = answers
    return made


@pytest.mark.parametrize(
    ("url", "known", "plain"),
    [
        ("redis://a:1/0", [], "redis://a:1/0"),
        ("redis://a:1/0?cluster=0", [], "redis://a:1/0?cluster=0"),
        ("redis://a:1/0?cluster=1", [A], "redis://a:1/0"),
        ("rediss://u:p@a:1?x=1&cluster=1&nodes=b:2,%20c:3", [A, B, C], "rediss://u:p@a:1?x=1"),
        ("redis://a?cluster=1&nodes=[::1]:2", [("a", 6379), ("::1", 2)], "redis://a"),
    ],
)
def test_what_a_url_names(url: str, known: list[Address], plain: str) -> None:
    assert is_cluster(url) == bool(known)
    assert (Nodes(url).known, Nodes(url).url) == (known, plain)


def test_whoever_answers_tells_of_all() -> None:
    cluster = nodes("redis://u:p@b:2?cluster=1&nodes=a:1", {A: SLOTS})
    assert cluster.owner("orders:{BTC-USD}") == A
    assert cluster.owner("orders:{ETH-USD}") == C
    assert cluster.owners(["depth.{ETH-USD}", "changes.{ETH-USD}", "depth.{BTC-USD}"]) == {
        C: ["depth.{ETH-USD}", "changes.{ETH-USD}"], A: ["depth.{BTC-USD}"],
    }  # fmt: skip
    assert cluster.primaries() == [A, C]
    assert cluster.url_of(C) == "redis://u:p@c:3"
    # The nodes it was told of stand in when those of the URL are gone.
    cluster.answers = {C: [[0, 16_383, [b"c", 3, b"id-c"]]]}  # type: ignore[attr-defined]
    assert cluster.owner("orders:{BTC-USD}") == C


def test_a_slot_that_nobody_holds_and_nodes_that_do_not_answer() -> None:
    with pytest.raises(ConnectionError, match="no node of the cluster holds orders"):
        nodes("redis://a:1?cluster=1", {A: SLOTS[1:]}).owner("orders:{BTC-USD}")
    with pytest.raises(ConnectionError, match="no node of the cluster answers: refused"):
        nodes("redis://a:1?cluster=1", {}).primaries()
