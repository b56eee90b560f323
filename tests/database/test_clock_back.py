"""The server's clock goes back an hour: a lease it cannot have given any more binds nobody."""

from collections.abc import Iterator

import psycopg
import pytest

REPORT = "SELECT matchers, free, next_free_ms FROM exchange.report_matcher_v2('me', 1500)"
ACQUIRE = "SELECT epoch FROM exchange.acquire_shard_v2(1, 'me', 2000, 0)"


@pytest.fixture
def look(database_url: str) -> Iterator[psycopg.Connection]:
    """Somebody else holds every instrument."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT exchange.report_matcher_v2('other', 1500)")
        for number in (1, 2, 3):
            connection.execute("SELECT exchange.acquire_shard_v2(%s, 'other', 2000, 0)", (number,))
        yield connection


def turn_back(look: psycopg.Connection) -> None:
    look.execute("UPDATE exchange.shard SET lease_until = lease_until + interval '1 hour'")
    look.execute("UPDATE exchange.matchers SET alive_until = alive_until + interval '1 hour'")


def test_a_lease_that_runs_is_respected(look: psycopg.Connection) -> None:
    ((matchers, free, next_free_ms),) = look.execute(REPORT).fetchall()
    assert (matchers, free) == (2, [])
    assert 0 < next_free_ms <= 2000
    assert look.execute(ACQUIRE).fetchall() == []


def test_a_lease_of_the_future_is_over(look: psycopg.Connection) -> None:
    turn_back(look)
    assert look.execute(REPORT).fetchall()[0][1:] == ([1, 2, 3], None)
    # Nor does a matcher live that was seen an hour from now.
    assert look.execute(REPORT).fetchall()[0][0] == 1
    assert look.execute(ACQUIRE).fetchall() == [(2,)]


def test_who_lives_renews_by_the_clock_as_it_is(look: psycopg.Connection) -> None:
    turn_back(look)
    for number in (1, 2, 3):
        look.execute("SELECT exchange.renew_lease_v1(%s, 1, 2000)", (number,))
    assert look.execute(ACQUIRE).fetchall() == []
    assert look.execute(REPORT).fetchall()[0][1] == []
