"""Fault after fault against a trading exchange, with a seed; then the judgement.

A campaign is a row of segments. Each has a fresh database and its own clients, who trade without a
pause while one fault follows another; at its end the clients finish, what was unknown is asked for,
and everything is checked.
"""

import random
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from redis.exceptions import RedisError

from ops.errors import OpsError
from ops.faulting.checker import check, epoch_problems
from ops.faulting.cluster import Cluster, wait_for
from ops.faulting.extent import Extents
from ops.faulting.followers import Followers
from ops.faulting.history import History
from ops.faulting.load import Load
from ops.faulting.memory import MB
from ops.faulting.run import Run
from ops.faulting.scenarios import Scenario

# Longer is a failure. On busy processors starting everything anew takes a quarter of this.
RECOVERY_S_MAX = 60.0
# After this the books of all WebSocket clients are those of the API, and answers come as quickly as
# before the fault.
NORMAL_S_MAX = 60.0
# At most so long for the orders between two faults.
BETWEEN_S_MAX = 20.0
# A segment ends when it is this old, or has so many orders: checking it must stay quick.
SEGMENT_S = 120.0
SEGMENT_ORDERS = 120_000

_EPOCH = re.compile(rb'"epoch":(\d+)')


@dataclass
class Result:
    """What came of one scenario, over all its rounds."""

    name: str
    numbers: str
    runs: int = 0
    orders: int = 0
    acknowledged: int = 0
    unknown: int = 0
    resolved: int = 0
    lost: int = 0
    duplicated: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    # Until latency was normal, too.
    normals_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def worst_s(self) -> float:
        return max(self.recoveries_s, default=0.0)

    @property
    def median_s(self) -> float:
        return statistics.median(self.recoveries_s) if self.recoveries_s else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "fault": self.name, "matrix": self.numbers, "runs": self.runs, "orders": self.orders,
            "acknowledged": self.acknowledged, "unknown": self.unknown, "resolved": self.resolved,
            "lost": self.lost, "duplicated": self.duplicated,
            "median_recovery_s": round(self.median_s, 3),
            "worst_recovery_s": round(self.worst_s, 3),
            "worst_normal_s": round(max(self.normals_s, default=0.0), 3), "problems": self.problems,
        }  # fmt: skip


class Campaign:
    """Runs scenarios on a cluster and keeps the score."""

    def __init__(
        self,
        cluster: Cluster,
        seed: int,
        say: Callable[[str], None] = lambda text: None,
        clients: int = 8,
        batch: int = 20,
        pause_s: float = 0.0,
        between: int = 0,
        segment_s: float = SEGMENT_S,
    ) -> None:
        self.cluster = cluster
        self.results: dict[str, Result] = {}
        # Of whole segments: what no single fault can be blamed for.
        self.problems: list[str] = []
        self.trades = 0
        self.repeats = 0
        self.cancels = 0
        # Books of WebSocket clients that were compared with the API's, and how often the server
        # told them to start anew.
        self.comparisons = 0
        self.restarts = 0
        self.extents = Extents()
        self._chance = random.Random(seed)
        self._say = say
        self._clients = (clients, batch, pause_s)
        # Orders that are acknowledged in peace after each fault.
        self._between = between
        self._segment_s = segment_s

    def segment(self, scenarios: Iterable[Scenario], until: Callable[[], bool]) -> None:
        """Run scenarios one after the other, all of them or until it is time; then check."""
        self.cluster.begin()
        clients, batch, pause_s = self._clients
        load = Load(self.cluster.port, self._chance.getrandbits(32), clients, batch, pause_s)
        began = time.monotonic()
        # Where, in the history, each scenario begins.
        rounds: list[tuple[int, Result]] = []
        followers = Followers(self.cluster.port)
        with Listener(self.cluster) as listener, self._noting(), followers:
            with load:
                load.await_orders(50)
                load.learn_normal()
                for scenario in scenarios:
                    full = len(load.history.orders) > SEGMENT_ORDERS
                    if until() or full or time.monotonic() - began > self._segment_s:
                        break
                    result = self.results.setdefault(
                        scenario.name, Result(scenario.name, scenario.numbers)
                    )
                    rounds.append((len(load.history.orders), result))
                    self._round(scenario, result, load, followers)
                    if load.history.problems or result.problems:
                        break
                self.cluster.complete()
            self._drain()
            self.problems += followers.verify(NORMAL_S_MAX)
        self.comparisons += followers.comparisons
        self.restarts += sum(one.snapshots + one.resyncs for one in followers.each)
        self._judge(load.history, rounds, listener.heard)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Keep what goes wrong with the exchange as a whole as a problem, and go on."""
        try:
            yield
        except OpsError as error:
            self.problems.append(f"I12 {error}")
            self._say(f"I12 {error}\n{self.cluster.last_words()}")

    def _round(self, scenario: Scenario, result: Result, load: Load, followers: Followers) -> None:
        result.runs += 1
        load.mark()
        try:
            told_s = scenario.hurt(Run(self.cluster, load, self._chance))
            self.cluster.complete()
            recovery_s = load.await_recovery(RECOVERY_S_MAX)
            if told_s is not None:
                recovery_s = told_s
        except OpsError as error:
            result.problems.append(str(error))
            self._say(f"{scenario.name}: {error}\n{self.cluster.last_words()}")
            return
        result.recoveries_s.append(recovery_s)
        try:
            normal_s = recovery_s + load.await_normal(NORMAL_S_MAX)
        except OpsError as error:
            result.problems.append(f"I12 {error}")
            normal_s = NORMAL_S_MAX
        result.normals_s.append(normal_s)
        result.problems += followers.verify(NORMAL_S_MAX)
        result.problems += self.extents.look(self.cluster)
        self._say(
            f"{scenario.name}: trading again after {recovery_s:.2f} s, "
            f"normal after {normal_s:.2f} s"
        )
        for problem in result.problems:
            self._say(problem)
        with suppress(OpsError):
            load.await_orders(self._between, BETWEEN_S_MAX)

    def _drain(self) -> None:
        """Wait until everything is back to normal: ready, nothing waits. [I12]"""
        self.cluster.wait_ready()
        wait_for(lambda: self.cluster.lag() == 0, "the streams are drained", RECOVERY_S_MAX)

    def _judge(
        self,
        history: History,
        rounds: Sequence[tuple[int, Result]],
        heard: Sequence[tuple[str, int]],
    ) -> None:
        verdict = check(self.cluster.database_url, history)
        self.trades += verdict.trades
        self.repeats += history.repeats
        self.cancels += len(history.cancels)
        problems = verdict.problems + epoch_problems(heard)
        for problem in problems:
            self._say(problem)
        names = " ".join(f"{result.name};" for _, result in rounds)
        self.problems += [f"{problem} (in: {names})" for problem in problems]
        lost = {id(order) for order in verdict.lost}
        duplicated = {id(order) for order in verdict.duplicated}
        ends = [start for start, _ in rounds[1:]] + [len(history.orders)]
        for (start, result), end in zip(rounds, ends, strict=True):
            for order in history.orders[start:end]:
                result.orders += 1
                result.acknowledged += order.state == "ok"
                result.unknown += order.resolved or order.state in ("unknown", "pending")
                result.resolved += order.resolved
                result.lost += id(order) in lost
                result.duplicated += id(order) in duplicated
        if problems:
            history.write(self.cluster.folder / f"history-{int(time.time())}.jsonl")

    @property
    def normals_s(self) -> list[float]:
        return [s for result in self.results.values() for s in result.normals_s]

    @property
    def recoveries_s(self) -> list[float]:
        return [s for result in self.results.values() for s in result.recoveries_s]

    @property
    def all_problems(self) -> list[str]:
        """What was wrong, of single faults and of whole segments."""
        return self.problems + [
            f"{result.name}: {problem}"
            for result in self.results.values()
            for problem in result.problems
        ]

    @property
    def failed(self) -> bool:
        return bool(self.all_problems) or any(
            result.lost or result.duplicated for result in self.results.values()
        )

    def as_json(self) -> dict[str, Any]:
        """Return everything that was found."""
        results = list(self.results.values())
        recoveries = self.recoveries_s
        return {
            "runs": sum(result.runs for result in results),
            "cycles": sum(self.cluster.done.values()),
            "orders": sum(result.orders for result in results),
            "acknowledged": sum(result.acknowledged for result in results),
            "unknown": sum(result.unknown for result in results),
            "resolved": sum(result.resolved for result in results),
            "lost": sum(result.lost for result in results),
            "duplicated": sum(result.duplicated for result in results),
            "trades": self.trades,
            "cancels": self.cancels,
            "repeats": self.repeats,
            "median_recovery_s": round(statistics.median(recoveries), 3) if recoveries else None,
            "worst_recovery_s": round(max(recoveries), 3) if recoveries else None,
            "median_normal_s": round(statistics.median(self.normals_s or [0]), 3),
            "worst_normal_s": round(max(self.normals_s, default=0.0), 3),
            "websocket_books_compared": self.comparisons,
            "websocket_restarts": self.restarts,
            "extents": {
                name: {"memory_mb": round(one.memory / MB, 1), "descriptors": one.descriptors}
                for name, one in sorted(self.extents.most.items())
            },
            "killed_or_stopped": dict(self.cluster.done),
            "problems": self.problems,
            "faults": [result.as_json() for result in results],
        }


class Listener:
    """Hears what is published about every instrument, and remembers by which epoch."""

    def __init__(self, cluster: Cluster) -> None:
        self.heard: list[tuple[str, int]] = []
        self._cluster = cluster
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(RedisError, OSError):
                self._listen()

    def _listen(self) -> None:
        with self._cluster.redis as connection, connection.pubsub() as pubsub:
            pubsub.psubscribe("depth.*", "changes.*")
            while not self._stopping.is_set():
                message = pubsub.get_message(timeout=0.2)
                if message and message["type"] == "pmessage":
                    found = _EPOCH.search(message["data"][:40])
                    if found:
                        entry = (message["channel"].decode(), int(found[1]))
                        if not self.heard or self.heard[-1] != entry:
                            self.heard.append(entry)
