"""What tests of any folder may ask for: servers, a fresh database, an empty Redis."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from psycopg import sql as psycopg_sql

from ops.migrate import migrate
from tests import servers

# Handed down to every process a test starts, by which those left behind are found.
SESSION_VARIABLE = "EXCHANGE_TEST_SESSION"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL, as a user that may make databases."""
    with servers.postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    """The URL of a Redis, with whatever earlier tests left in it."""
    with servers.redis_server() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_database(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database, to copy and not to connect to."""
    name = f"test_template_{uuid.uuid4().hex}"
    _on_server(postgres_url, "CREATE DATABASE {}", name)
    try:
        migrate(servers.other_database(postgres_url, name))
        yield name
    finally:
        _on_server(postgres_url, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def database_url(postgres_url: str, migrated_database: str) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    with servers.fresh_database(postgres_url, migrated_database) as url:
        yield url


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(redis_server_url) as client:
        client.flushdb()
    return redis_server_url


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A data folder for embedded servers."""
    with servers.server_folder() as folder:
        yield folder


def _on_server(url: str, statement: str, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        identifiers = map(psycopg_sql.Identifier, names)
        connection.execute(psycopg_sql.SQL(statement).format(*identifiers))


def pytest_configure() -> None:
    os.environ[SESSION_VARIABLE] = uuid.uuid4().hex


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session when a test left a process behind."""
    left = _processes_left()
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for process in left:
            print(f"\nLeft behind: {process}")


def _processes_left() -> list[psutil.Process]:
    ours = set(psutil.Process().children(recursive=True))
    for process in psutil.process_iter():
        try:
            if process.environ().get(SESSION_VARIABLE) == os.environ[SESSION_VARIABLE]:
                ours.add(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            pass
    return [process for process in ours if process.pid != os.getpid() and process.is_running()]
