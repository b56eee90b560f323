"""Failpoints: what can be armed, what it does, and that nothing is in the way otherwise."""

import inspect
import time

import pytest

from workers.adapters.errors import OutcomeUnknown, Unavailable
from workers.adapters.failpoints import CALLS, VARIABLE, Failpoints
from workers.adapters.jobs import JobStore
from workers.adapters.kafka import Publisher as KafkaPublisher
from workers.adapters.ledger import Ledger
from workers.adapters.limits import RateLimits
from workers.adapters.lookups import Lookups
from workers.adapters.mirror import MirrorLog
from workers.adapters.pubsub import DepthReader, Publisher
from workers.adapters.shards import Shards
from workers.adapters.streams import OrderStream, StreamWriter
from workers.jobs.broker import Messages
from workers.settings import SettingsError

CLASSES = {
    "shards": Shards, "ledger": Ledger, "stream": OrderStream, "writer": StreamWriter,
    "lookups": Lookups, "reader": DepthReader, "publisher": Publisher, "limits": RateLimits,
    "jobs": JobStore, "messages": Messages, "mirror": MirrorLog, "kafka": KafkaPublisher,
}  # fmt: skip
# Their calls are plain ones.
THREADED = ("jobs", "messages", "mirror", "kafka")


def armed(text: str) -> Failpoints:
    return Failpoints.from_env({VARIABLE: text})


class Writer:
    def __init__(self) -> None:
        self.calls = 0

    async def append(self, number: int) -> int:
        self.calls += 1
        return number

    def plain(self) -> str:
        return "plain"


def test_every_point_is_a_call_that_exists() -> None:
    assert CALLS.keys() == CLASSES.keys()
    for name, calls in CALLS.items():
        for call in calls:
            found = getattr(CLASSES[name], call)
            assert inspect.iscoroutinefunction(found) == (name not in THREADED), f"{name}.{call}"


def test_nothing_armed_is_nothing_in_the_way() -> None:
    writer = Writer()
    assert Failpoints().around("writer", writer) is writer
    assert armed("").around("writer", writer) is writer
    assert armed("ledger.commit.before=kill").around("writer", writer) is writer


@pytest.mark.parametrize(
    ("text", "results", "calls"),
    [
        ("writer.append.before=error", [Unavailable] * 3, 0),
        ("writer.append.after=error", [OutcomeUnknown] * 3, 3),
        ("writer.append.before=error@2", [0, Unavailable, 2], 2),
        ("writer.append.after=error@3,writer.append.before=error@1", [Unavailable, 1, 2], 2),
        ("writer.append.before=delay:1", [0, 1, 2], 3),
    ],
)
async def test_errors(text: str, results: list[object], calls: int) -> None:
    writer = Writer()
    guarded = armed(text).around("writer", writer)
    for number, expected in enumerate(results):
        if isinstance(expected, type):
            with pytest.raises(expected):
                await guarded.append(number)
        else:
            assert await guarded.append(number) == expected
    assert writer.calls == calls
    assert guarded.plain() == "plain"


class Store:
    def claim(self, number: int) -> int:
        return number


def test_calls_that_are_not_asynchronous() -> None:
    guarded = armed("jobs.claim.before=error@2,jobs.claim.after=error@2").around("jobs", Store())
    assert guarded.claim(0) == 0
    with pytest.raises(Unavailable):
        guarded.claim(1)
    with pytest.raises(OutcomeUnknown):
        guarded.claim(2)
    assert guarded.claim(3) == 3
    began = time.monotonic()
    armed("jobs.claim.before=delay:50").around("jobs", Store()).claim(1)
    assert time.monotonic() - began >= 0.05


async def test_a_delay() -> None:
    began = time.monotonic()
    await armed("writer.append.before=delay:50").around("writer", Writer()).append(1)
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize(
    "text",
    [
        "x", "writer.append=kill", "writer.append.during=kill", "writer.nothing.before=kill",
        "writer.append.before=explode", "writer.append.before=delay",
        "writer.append.before=kill@", "writer.append.before=kill@x", "=kill",
    ],
)  # fmt: skip
def test_what_cannot_be_armed_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=VARIABLE):
        armed(text)


def test_never_in_production() -> None:
    with pytest.raises(SettingsError, match="production"):
        Failpoints.from_env({VARIABLE: "writer.append.before=kill", "EXCHANGE_ENV": "production"})
