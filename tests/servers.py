"""The servers the tests use: given ones, else containers, else embedded ones."""

import contextlib
import os
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

from ops.embedded import Postgres, Valkey
from ops.processes import wait_until

POSTGRES_IMAGE = "postgres:18"
VALKEY_IMAGE = "valkey/valkey:9"
CONTAINER_TIMEOUT_S = 120.0
DOCKER_TIMEOUT_S = 5


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Give the URL of a PostgreSQL whose user may make databases and roles."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
    elif docker_answers():
        secrets = {"POSTGRES_USER": "exchange", "POSTGRES_PASSWORD": "exchange"}
        with container(POSTGRES_IMAGE, 5432, secrets) as place:
            url = f"postgresql://exchange:exchange@{place}/exchange"
            assert wait_until(lambda: postgres_answers(url), CONTAINER_TIMEOUT_S)
            yield url
    else:
        with server_folder() as folder, Postgres(folder) as server:
            yield server.url


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Give the URL of a Redis or Valkey whose database may be flushed."""
    if url := os.environ.get("REDIS_URL"):
        yield url
    elif docker_answers():
        with container(VALKEY_IMAGE, 6379, {}) as place:
            url = f"redis://{place}/0"
            assert wait_until(lambda: redis_answers(url), CONTAINER_TIMEOUT_S)
            yield url
    else:
        with server_folder() as folder, Valkey(folder) as server:
            yield server.url


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """Give a temporary folder that an embedded PostgreSQL may enter.

    pytest's own are closed to all but their owner, and PostgreSQL never runs as root.
    """
    with tempfile.TemporaryDirectory(prefix="trade-engine-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "data"


@cache
def docker_answers() -> bool:
    """Tell whether a container engine is there."""
    # The command, not the library: that leaves its socket open when nobody answers.
    try:
        asked = subprocess.run(
            ["docker", "version"], capture_output=True, timeout=DOCKER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


@contextlib.contextmanager
def container(image: str, port: int, environment: dict[str, str]) -> Iterator[str]:
    """Run a container and give HOST:PORT of the port."""
    with warnings.catch_warnings():
        # Testcontainers warns of its own past.
        warnings.simplefilter("ignore")
        from testcontainers.core.container import DockerContainer

        running = DockerContainer(image).with_exposed_ports(port)
        for name, value in environment.items():
            running = running.with_env(name, value)
        with running:
            place = f"{running.get_container_host_ip()}:{running.get_exposed_port(port)}"
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                yield place


def postgres_answers(url: str) -> bool:
    """Tell whether a PostgreSQL serves the URL."""
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def redis_answers(url: str) -> bool:
    """Tell whether a Redis serves the URL."""
    with redis.Redis.from_url(url, socket_timeout=2) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


@contextlib.contextmanager
def fresh_database(url: str, template: str) -> Iterator[str]:
    """Give the URL of a copy of a database, for as long as it is needed."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[arg-type]
        try:
            yield other_database(url, name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def other_database(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
