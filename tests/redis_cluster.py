"""A real Redis Cluster of three nodes on this machine, each with one instrument's slot."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from ops.embedded.valkey import _binary
from tests.exchange import eventually, free_port

# Where {BTC-USD}, {ETH-USD} and {SOL-USD} are: slots 7386, 10593 and 12063.
RANGES = ((0, 8_000), (8_001, 11_000), (11_001, 16_383))
INSTRUMENTS = ("BTC-USD", "ETH-USD", "SOL-USD")
PASSWORD = "of-the-cluster"
CONFIGURATION = """\
bind 127.0.0.1
port {port}
cluster-port {cluster_port}
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 2000
# What is left goes on when a node is gone.
cluster-require-full-coverage no
requirepass {password}
masterauth {password}
dir {folder}
appendonly yes
save ""
maxmemory-policy noeviction
"""


class Node:
    """One node. It begins with no slots."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.port, cluster_port = free_port(), free_port()
        text = CONFIGURATION.format(
            port=self.port, cluster_port=cluster_port, folder=folder, password=PASSWORD
        )
        (folder / "valkey.conf").write_text(text)
        self.cluster_port = cluster_port
        self.client = redis.Redis(
            port=self.port, password=PASSWORD, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [_binary(), self.folder / "valkey.conf"], stdout=log, stderr=log
            )
        eventually(self.answers, "the node answers")

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, *words: Any) -> Any:
        return self.client.execute_command(*words)

    @property
    def id(self) -> str:
        return str(self.ask("CLUSTER", "MYID").decode())


class Cluster:
    """Three nodes; node `n` holds the keys of `INSTRUMENTS[n]`."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Node(folder / f"node-{number}") for number in range(len(RANGES))]
        first = self.nodes[0]
        for number, (node, (lowest, highest)) in enumerate(zip(self.nodes, RANGES, strict=True)):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.ask("CLUSTER", "ADDSLOTS", *range(lowest, highest + 1))
        for node in self.nodes[1:]:
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.cluster_port)
        eventually(self.is_whole, "every node knows of every slot")

    @property
    def url(self) -> str:
        """The URL for REDIS_URL; it names two of the nodes."""
        first, second, _ = self.nodes
        return (
            f"redis://:{PASSWORD}@127.0.0.1:{first.port}/0?cluster=1&nodes=127.0.0.1:{second.port}"
        )

    def is_whole(self) -> bool:
        states = [node.ask("CLUSTER", "INFO") for node in self.nodes]
        owners = [len(node.ask("CLUSTER", "SLOTS")) for node in self.nodes]
        return owners == [3] * 3 and all(b"cluster_state:ok" in state for state in states)

    def holders(self, key: str) -> list[int]:
        """Return the nodes that have a key."""
        return [n for n, node in enumerate(self.nodes) if key.encode() in node.ask("KEYS", "*")]

    def move(self, instrument: str, origin: int, target: int) -> int:
        """Move the slot of an instrument while it is in use; return how many keys moved."""
        source, sink, slot = self.nodes[origin], self.nodes[target], key_slot(instrument.encode())
        sink.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", sink.id)
        moved = 0
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask(
                "MIGRATE", "127.0.0.1", sink.port, "", 0, 5_000, "AUTH", PASSWORD, "KEYS", *keys
            )
            moved += len(keys)
        for node in (sink, source, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", sink.id)
        return moved

    def stop(self) -> None:
        for node in self.nodes:
            node.client.close()
            node.process.terminate()
        for node in self.nodes:
            node.process.wait(10)


@contextmanager
def redis_cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="trade-engine-cluster-") as name:
        cluster = Cluster(Path(name))
        try:
            yield cluster
        finally:
            cluster.stop()
