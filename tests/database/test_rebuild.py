"""`python -m ops rebuild --from-kafka`: what the topics hold is what PostgreSQL held."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from ops.__main__ import main
from tests import servers
from tests.history import INSTRUMENTS, make_history
from tests.kafka import mock_cluster, publisher, read_topic
from workers.adapters.errors import Unavailable
from workers.adapters.kafka import Message, Publisher
from workers.jobs.mirror import mirror_slice
from workers.jobs.mirror_messages import TOPICS, UPDATES
from workers.settings import KafkaSettings


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with mock_cluster() as brokers:
        monkeypatch.setenv("KAFKA_BROKERS", brokers)
        yield brokers


@pytest.fixture
def lost_url(database_url: str) -> str:
    """The database that is mirrored: two instruments, fees, segments, a settlement."""
    make_history(database_url, seed=11, commands=1_000)
    return database_url


@pytest.fixture
def empty_url(
    postgres_url: str, migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    with servers.fresh_database(postgres_url, migrated_database) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        yield url


def mirror(url: str, brokers: str, page_length: int = 100) -> None:
    with psycopg.connect(url, autocommit=True) as connection, publisher(brokers) as kafka:
        for instrument in INSTRUMENTS:
            mirror_slice(connection, kafka, instrument, slice_s=60, page_length=page_length)


def same_but_for_the_house(output: str) -> bool:
    rows = [line.split() for line in output.splitlines()]
    compared = {row[0]: row[1:3] for row in rows if len(row) >= 3}
    names = ("orders", "trades", "books", "events", "postings", "balances", "positions")
    assert all(int(compared[name][0]) > 0 for name in names)
    return all(compared[name][1] == "0" for name in names)


def test_an_empty_database_gets_all_of_it_back(
    lost_url: str, empty_url: str, brokers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(lost_url, brokers)
    assert main(["rebuild", "--from-kafka", "--compare", lost_url]) == 0
    output = capsys.readouterr().out
    assert same_but_for_the_house(output), output
    # The mirror goes on where the topics end.
    with psycopg.connect(empty_url, autocommit=True) as connection, publisher(brokers) as kafka:
        assert [mirror_slice(connection, kafka, one) for one in INSTRUMENTS] == [0, 0]
    # Again: there is nothing left to do.
    assert main(["rebuild", "--from-kafka", "--compare", lost_url]) == 0


class Dying(Publisher):
    """Dies in the middle of a page, in whose topics parts of it are then, of different lengths."""

    pages = 3

    def publish(self, messages: Sequence[Message], *arguments: Any) -> None:
        self.pages -= 1
        if self.pages:
            return super().publish(messages, *arguments)
        parts = {topic: 10 + 13 * place for place, topic in enumerate(TOPICS)}
        some = []
        for message in messages:
            parts[message.topic] -= 1
            if parts[message.topic] >= 0:
                some.append(message)
        super().publish(some, *arguments)
        raise Unavailable("died")


def test_what_came_before_the_mirror_died_then_the_rest_with_repeats(
    lost_url: str, empty_url: str, brokers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(lost_url, autocommit=True) as connection:
        dying = Dying(KafkaSettings(brokers), TOPICS)
        with pytest.raises(Unavailable):
            mirror_slice(connection, dying, INSTRUMENTS[0], page_length=100)
    assert main(["rebuild", "--from-kafka"]) == 0
    assert "a later timeline" in capsys.readouterr().out
    with psycopg.connect(empty_url) as connection:
        ((sequence, mirrored, timeline),) = connection.execute(
            "SELECT s.sequence, m.sequence, exchange.current_timeline_v1()"
            " FROM exchange.shard s JOIN exchange.mirror_offsets m USING (instrument_id)"
            " WHERE instrument_id = 1"
        ).fetchall()
    # What readers saw of the rest comes again, on a timeline that tells them to forget it.
    assert mirrored == sequence
    assert timeline > 1
    # Two pages, and of the third what every topic had, to the end of a command.
    assert 200 < sequence <= 215
    mirror(lost_url, brokers)
    assert main(["rebuild", "--from-kafka", "--compare", lost_url]) == 0
    output = capsys.readouterr().out
    assert same_but_for_the_house(output), output


def test_a_database_with_another_history_is_refused(
    lost_url: str, empty_url: str, brokers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(lost_url, brokers)
    make_history(empty_url, seed=12, commands=50)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        before = connection.execute("SELECT count(*) FROM exchange.orders").fetchall()
        connection.execute("UPDATE exchange.shard SET lease_until = '-infinity'")
        assert main(["rebuild", "--from-kafka"]) == 1
        assert "another history" in capsys.readouterr().err
        assert main(["rebuild", "--from-kafka"]) == 1  # at once: the lease was given back
        assert connection.execute("SELECT count(*) FROM exchange.orders").fetchall() == before


def test_an_instrument_that_is_matched_is_refused(
    lost_url: str, brokers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(lost_url, brokers)
    monkeypatch.setenv("DATABASE_URL", lost_url)
    with psycopg.connect(lost_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE exchange.shard SET owner = 'matcher', lease_until = now() + interval '30 s'"
        )
    assert main(["rebuild", "--from-kafka"]) == 1
    assert "stop it first" in capsys.readouterr().err


def test_a_gap_ends_the_rebuild(
    lost_url: str, empty_url: str, brokers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror(lost_url, brokers)
    *_, last = [r for r in read_topic(brokers, UPDATES) if r.key == "BTC-USD"]
    with publisher(brokers) as kafka:
        headers = {"number": last.number + 2, "sequence": last.sequence + 2, "schema_version": 1}
        beyond = Message(
            UPDATES, b"BTC-USD", b"{}", [(name, b"%d" % value) for name, value in headers.items()]
        )
        kafka.publish([beyond], 10)
    assert main(["rebuild", "--from-kafka"]) == 1
    assert "gap" in capsys.readouterr().err
