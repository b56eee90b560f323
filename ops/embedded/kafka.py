"""A private Apache Kafka: one broker in KRaft mode, for tests and demonstrations without Docker.

Kafka is a Java program. Its jars (40 MB) come from Maven Central by Maven, once, into a cache;
Java 17 runs them. `python -m ops.embedded.kafka --data DIR` runs a broker until it is interrupted.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from ops.embedded.passwords import write_private
from ops.embedded.server import Server, free_port
from ops.errors import OpsError

POM = Path(__file__).with_name("kafka.pom.xml")
JAVA_VERSION_MIN = 17
FETCH_TIMEOUT_S = 600
# Of the dependency plugin, pinned like every other version.
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
CLUSTER_ID = "dHJhZGUtZW5naW5lLXRlc3Q"

CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/logs
# One broker is all there is to replicate to.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
# A topic made by chance has other settings than one that was made on purpose.
auto.create.topics.enable=false
"""


class Kafka(Server):
    """A broker on DIR/kafka. `settings` are lines of its configuration besides."""

    program = "java"
    name = "kafka"
    stop_signal = signal.SIGTERM

    def __init__(self, data: Path | str, **settings: str) -> None:
        super().__init__(data)
        self._settings = settings
        self._controller_port = 0

    @property
    def url(self) -> str:
        """What to set KAFKA_BROKERS to."""
        return f"127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def _command(self) -> list[str | Path]:
        configuration = self.folder / "server.properties"
        self._controller_port = free_port()
        lines = [f"{name.replace('_', '.')}={value}" for name, value in self._settings.items()]
        write_private(
            configuration,
            CONFIGURATION.format(
                port=self.port, controller_port=self._controller_port, folder=self.folder
            )
            + "\n".join([*lines, ""]),
        )
        if not (self.folder / "logs" / "meta.properties").exists():
            self._format(configuration)
        return [*self._java("-Xms256m", "-Xmx512m"), "kafka.Kafka", configuration]

    def _format(self, configuration: Path) -> None:
        formatted = subprocess.run(
            [
                *self._java(),
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={CLUSTER_ID}",
                f"--config={configuration}",
            ],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        if formatted.returncode != 0:
            raise OpsError(f"Kafka's storage cannot be formatted: {formatted.stderr.strip()}")

    def _java(self, *options: str) -> list[str | Path]:
        return [
            java(),
            *options,
            # Ends at once when memory is short, as a killed broker would; collects in one thread.
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{jars()}/*",
        ]

    def _answers(self) -> bool:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            # A port that nobody listens on is known without a client, which takes longer.
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            admin = AdminClient({"bootstrap.servers": self.url, "log_level": 0})
            return bool(admin.list_topics(timeout=2).brokers)
        except (OSError, KafkaException):
            return False


def why_missing() -> str:
    """Return why there can be no embedded Kafka on this machine; "" when there can."""
    try:
        java()
        if not _cached_jars().exists() and shutil.which("mvn") is None:
            return "Maven (mvn), which fetches Kafka's jars, is not on PATH"
    except OpsError as error:
        return str(error)
    return ""


@cache
def java() -> Path:
    """Return the program `java`. Raises OpsError."""
    found = shutil.which("java")
    if found is None:
        raise OpsError(f"Java {JAVA_VERSION_MIN} or newer is not on PATH")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_VERSION_MIN:
        raise OpsError(f"Java {JAVA_VERSION_MIN} or newer is needed, not {said.splitlines()[:1]}")
    return Path(found).resolve()


def jars() -> Path:
    """Return the folder with Kafka's jars; fetch them when they are not there. Raises OpsError."""
    folder = _cached_jars()
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise OpsError("Maven (mvn), which fetches Kafka's jars, is not on PATH")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as name:
        command = [
            maven, "--batch-mode", "--quiet", f"--file={POM}", COPY,
            f"-DoutputDirectory={name}/jars", "-DincludeScope=runtime",
        ]  # fmt: skip
        try:
            fetched = subprocess.run(
                command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise OpsError(f"Kafka's jars did not come in {FETCH_TIMEOUT_S} s") from error
        if fetched.returncode != 0:
            raise OpsError(f"Kafka's jars cannot be fetched: {fetched.stdout.strip()[-500:]}")
        try:
            # Whole or not at all, also when two fetch at once.
            (Path(name) / "jars").rename(folder)
        except OSError:
            if not folder.exists():
                raise
    return folder


def _cached_jars() -> Path:
    version = re.search(r"<version>(\d+\.\d+\.\d+)</version>", POM.read_text(encoding="utf-8"))
    assert version is not None
    cache_folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_folder) / "trade-engine" / f"kafka-{version[1]}"


def main() -> int:
    """Run a broker until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m ops.embedded.kafka", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    parser.add_argument("--port", type=int, help="port on loopback; a free one unless given")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = Kafka(arguments.data)
    try:
        server.start(arguments.port)
        print(f"KAFKA_BROKERS={server.url}", flush=True)
        signal.pause()
    except OpsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
