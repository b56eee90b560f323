"""The Kafka mirror with everything dying around it, and what a dead Kafka costs trading.

    python -m ops.bench.mirror deaths FOLDER [--orders N] [--rate R] [--down-s S] [--kills K]
    python -m ops.bench.mirror pairs FOLDER [--pairs N] [--seconds S] [--rate R]

`deaths`: orders go into an exchange while the mirror is killed K times, and the broker once, for S
seconds in the middle. Then every topic is read: each number must be there once when repeats are
dropped, in order. Then a database is rebuilt from the topics alone and compared.

`pairs`: orders at a fixed rate, and as many as go, in turn without a mirror, with a mirror whose
Kafka is down, and with all well.

FOLDER gets an embedded PostgreSQL, Valkey and Apache Kafka of its own (see ops/embedded/kafka.py);
delete it afterwards.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import aiohttp
import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.embedded import Postgres, Valkey
from ops.embedded.kafka import Kafka
from ops.embedded.server import free_port
from ops.migrate import migrate
from ops.topics import Part, survey
from workers.adapters.kafka import client_config
from workers.jobs.mirror_messages import TOPICS
from workers.settings import KafkaSettings

CONNECTIONS = 16
# Roughly, of the orders that are generated: where to look for the middle.
EVENTS_PER_ORDER = 1.7
BATCH_LENGTH = 100
INSTRUMENT = "BTC-USD"
STATES = ("no mirror", "down", "up")
WAIT_S = 300.0
# A broker that was just started, on busy processors.
BROKER_START_S = 60.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.mirror", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = parser.add_subparsers(dest="action", required=True)
    deaths = actions.add_parser("deaths")
    deaths.add_argument("--orders", type=int, default=100_000)
    deaths.add_argument("--rate", type=int, default=400, help="orders a second")
    deaths.add_argument("--down-s", type=float, default=120.0)
    deaths.add_argument("--kills", type=int, default=5)
    pairs = actions.add_parser("pairs")
    pairs.add_argument("--pairs", type=int, default=5)
    pairs.add_argument("--seconds", type=float, default=15.0)
    pairs.add_argument("--rate", type=int, default=100, help="orders a second")
    for action in (deaths, pairs):
        action.add_argument("folder", type=Path)
    args = parser.parse_args(arguments)
    with stand(args.folder) as exchange:
        if args.action == "deaths":
            print(live_through(exchange, args.orders, args.rate, args.down_s, args.kills).report())
        else:
            measure_pairs(exchange, args.pairs, args.seconds, args.rate)
    return 0


class Stand:
    """An exchange with a mirror, each process its own."""

    def __init__(self, folder: Path, postgres: Postgres, valkey: Valkey, kafka: Kafka) -> None:
        self.folder = folder
        self.postgres = postgres
        self.kafka = kafka
        self.port = free_port()
        self.env = os.environ | {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "PORT": str(self.port),
            "KAFKA_BROKERS": kafka.url,
            "LOG_FORMAT": "text",
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.mirror = self.start("ops", "mirror", "run")

    def start(self, *module: str) -> subprocess.Popen[bytes]:
        """Start `python -m MODULE`."""
        with (self.folder / f"{module[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *module], env=self.env, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def kill_mirror(self) -> None:
        """Kill the mirror and start another."""
        self.mirror.kill()
        self.mirror.wait()
        self.mirror = self.start("ops", "mirror", "run")

    def bring_to(self, state: str) -> None:
        """Bring the mirror and Kafka to one of STATES."""
        if state != "no mirror" and self.mirror.poll() is not None:
            self.mirror = self.start("ops", "mirror", "run")
        if state == "up":
            if not self.kafka.running:
                self.kafka.start(self.kafka.port)
            wait_until(lambda: len(set(self.places())) == 1, "the mirror catches up")
            return
        self.kafka.kill()
        if state == "no mirror":
            self.mirror.terminate()
            self.mirror.wait()
        else:
            time.sleep(2)  # the mirror has noticed, and tries again and again

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def places(self) -> tuple[int, int]:
        """Return the last sequence that is committed, and the last that is mirrored."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            ((mirrored, sequence),) = connection.execute(
                "SELECT coalesce(mirrored_sequence, 0), sequence FROM exchange.mirror_lags_v1()"
                " WHERE instrument = %s",
                (INSTRUMENT,),
            ).fetchall()
        return sequence, mirrored

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    """Start everything, and stop it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    data = folder / "data"
    with Postgres(data) as postgres, Valkey(data) as valkey, Kafka(data) as kafka:
        migrate(postgres.url)
        exchange = Stand(folder, postgres, valkey, kafka)
        try:
            exchange.start("workers.matching")
            exchange.start("api")
            wait_until(lambda: _answers(exchange.url("/readyz")), "the exchange is ready")
            yield exchange
        finally:
            exchange.stop()


class Result(NamedTuple):
    """What the mirror and the topics came to."""

    orders: int
    sequence: int
    down_s: float
    orders_while_down: int
    kills: int
    caught_up_s: float
    topics: dict[str, Part]
    compared: str

    def report(self) -> str:
        """Return it for people."""
        lines = [
            f"{self.orders} orders, {self.sequence} events; broker down for {self.down_s:.0f} s "
            f"({self.orders_while_down} events committed meanwhile); mirror killed {self.kills} "
            f"times; caught up {self.caught_up_s:.1f} s after the last order",
        ]
        for topic, part in self.topics.items():
            lines.append(
                f"{topic:28} numbers {part.first} to {part.last}, none missing, in order; "
                f"{part.repeats} repeats of {part.messages} messages"
            )
        return "\n".join([*lines, self.compared])


class BatchLoad:
    """Orders in batches at a fixed rate, from a thread of their own; one of twenty is cancelled."""

    def __init__(self, url: str, orders: int, rate: int) -> None:
        self._url = url
        self._orders = orders
        self._rate = rate
        self.done = False
        self.error = ""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self._send())
        except Exception as error:
            self.error = repr(error)
        self.done = True

    async def _send(self) -> None:
        random = Random(1)
        started = time.monotonic()
        sent = 0
        async with aiohttp.ClientSession() as session:
            while sent < self._orders:
                await asyncio.sleep(max(0.0, started + sent / self._rate - time.monotonic()))
                batch = [an_order(random) for _ in range(min(BATCH_LENGTH, self._orders - sent))]
                async with session.post(
                    f"{self._url}/orders/batch", json={"orders": batch}
                ) as answer:
                    results = (await answer.json())["results"]
                    assert answer.status == 200, results
                sent += len(batch)
                for result in results[::20]:
                    order_id = result["order"]["order_id"]
                    async with session.delete(f"{self._url}/orders/{order_id}") as answer:
                        assert answer.status in (200, 409), await answer.text()


def an_order(random: Random) -> dict[str, Any]:
    """Return an order near 100, one of ten a market order."""
    order: dict[str, Any] = {
        "client_id": f"client-{random.randint(1, 50)}",
        "side": random.choice(["buy", "sell"]),
        "quantity": random.randint(1, 5),
    }
    if random.random() < 0.1:
        return order | {"type": "market"}
    return order | {"type": "limit", "price": 100 + random.randint(-5, 5)}


def live_through(exchange: Stand, orders: int, rate: int, down_s: float, kills: int) -> Result:
    """Send orders while the mirror and the broker die; look at what there is in the end."""
    load = BatchLoad(exchange.url(""), orders, rate)
    # The broker dies when nearly half of the events are committed. The mirror dies once while it is
    # away, and else when it has come to these places, so at work.
    events = EVENTS_PER_ORDER * orders
    places = [(0.2 + 0.6 * number / kills) * events for number in range(kills - 1)]
    died_meanwhile = False
    down_since = down_for = caught_up_from = 0.0
    down_from = while_down = 0
    started = time.monotonic()
    while True:
        sequence, mirrored = exchange.places()
        now = time.monotonic()
        done = load.done
        if not down_for and not down_since and (sequence >= 0.45 * events or done):
            exchange.kafka.kill()
            down_since, down_from = now, sequence
        if down_since and not died_meanwhile and now - down_since >= down_s / 2:
            exchange.kill_mirror()
            died_meanwhile = True
        elif places and (mirrored >= places[0] or (down_for and done and mirrored == sequence)):
            wait_for_messages(KafkaSettings(exchange.kafka.url))
            exchange.kill_mirror()
            places.pop(0)
        if down_since and now - down_since >= down_s:
            exchange.kafka.start(exchange.kafka.port)
            down_for, down_since = time.monotonic() - down_since, 0.0
            while_down = sequence - down_from
        if done and down_for:
            caught_up_from = caught_up_from or now
            if not places and mirrored == sequence:
                break
        if now - started > 3_600:
            raise TimeoutError("the mirror does not catch up")
        time.sleep(0.05)
    caught_up_s = time.monotonic() - caught_up_from
    load.thread.join()
    assert not load.error, load.error
    settings = KafkaSettings(exchange.kafka.url)
    topics = {topic: survey(settings, topic)[INSTRUMENT] for topic in TOPICS}
    for topic, part in topics.items():
        assert part.first == 1, topic
    assert topics[TOPICS[0]].last == sequence
    return Result(
        orders, sequence, down_for, while_down, kills, caught_up_s, topics, rebuild(exchange)
    )


def wait_for_messages(settings: KafkaSettings) -> None:
    """Return when messages have just come into a topic: before the mirror can store its offset."""
    consumer = Consumer(client_config(settings) | {"group.id": "bench"})
    try:
        topic = _topic(consumer)
        partitions = [TopicPartition(TOPICS[0], number) for number in topic.partitions]

        def ends() -> list[Any]:
            return [consumer.get_watermark_offsets(one, timeout=10) for one in partitions]

        # An instrument has one partition.
        partitions = [one for one, (_, end) in zip(partitions, ends(), strict=True) if end]
        before, until = ends(), time.monotonic() + 5
        while ends() == before and time.monotonic() < until:
            pass
    finally:
        consumer.close()


def _topic(consumer: Consumer) -> Any:
    """Return what a broker, which may just be starting, says of the first topic."""
    until = time.monotonic() + BROKER_START_S
    while True:
        try:
            return consumer.list_topics(TOPICS[0], timeout=10).topics[TOPICS[0]]
        except KafkaException:
            if time.monotonic() > until:
                raise


def rebuild(exchange: Stand) -> str:
    """Rebuild a database from the topics, and return what comparing it with the first one says."""
    with psycopg.connect(exchange.postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE rebuilt")
    url = exchange.postgres.url.rpartition("/")[0] + "/rebuilt"
    migrate(url)
    started = time.monotonic()
    said = _ops(
        exchange, "rebuild", "--from-kafka", f"--compare={exchange.postgres.url}", DATABASE_URL=url
    )
    return f"rebuilt and compared in {time.monotonic() - started:.0f} s\n{said}"


class Timing(NamedTuple):
    """How orders went: seconds each."""

    taken: list[float]
    seconds: float

    def text(self) -> str:
        ordered = sorted(self.taken)
        p50, p99 = (1000 * ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        return f"{len(ordered) / self.seconds:7.0f} orders/s  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms"


def measure_pairs(exchange: Stand, pairs: int, seconds: float, rate: int) -> None:
    """Print how orders go without a mirror, with Kafka down, and with Kafka up, in turn."""
    asyncio.run(send(exchange.url("/orders"), seconds, None))
    figures: dict[tuple[str, str], list[Timing]] = {}
    for pair in range(pairs):
        # There and back, so that none has a bigger database than the others.
        for state in STATES if pair % 2 == 0 else STATES[::-1]:
            exchange.bring_to(state)
            for kind, asked in ((f"{rate}/s", rate), ("full load", None)):
                timing = asyncio.run(send(exchange.url("/orders"), seconds, asked))
                figures.setdefault((kind, state), []).append(timing)
                print(f"{kind:10} {state:10} {timing.text()}", flush=True)
    for (kind, state), timings in sorted(figures.items()):
        per_second = statistics.median(len(one.taken) / one.seconds for one in timings)
        together = Timing([taken for one in timings for taken in one.taken], 1)
        print(f"{kind:10} {state:10} median {per_second:.0f} orders/s, all "
              f"orders {together.text().partition('/s')[2].strip()}")  # fmt: skip


async def send(url: str, seconds: float, rate: int | None) -> Timing:
    """Send orders for some seconds, at a fixed rate or one after another per connection."""
    random = Random(2)
    taken: list[float] = []
    started = time.perf_counter()
    end = started + seconds

    async def one(session: aiohttp.ClientSession, since: float) -> None:
        async with session.post(url, json=an_order(random)) as answer:
            await answer.read()
            assert answer.status == 201, answer.status
        taken.append(time.perf_counter() - since)

    connector = aiohttp.TCPConnector(limit=CONNECTIONS if rate is None else 256)
    async with aiohttp.ClientSession(connector=connector) as session:
        if rate is None:

            async def loop() -> None:
                while (now := time.perf_counter()) < end:
                    await one(session, now)

            await asyncio.gather(*(loop() for _ in range(CONNECTIONS)))
        else:
            sent = []
            for number in range(int(seconds * rate)):
                due = started + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                # From when it was due: a late start is part of what a client waits.
                sent.append(asyncio.create_task(one(session, due)))
            await asyncio.gather(*sent)
    return Timing(taken, time.perf_counter() - started)


def _ops(exchange: Stand, *command: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ops", *command],
        env=exchange.env | env | {"COLUMNS": "200"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"ops {command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def _answers(url: str) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not in {WAIT_S:.0f} s: {what}")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
