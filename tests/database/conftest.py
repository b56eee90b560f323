"""What tests of the database may ask for."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.matcher import BTC_USD, Matcher
from workers.adapters.ledger import Ledger


@pytest.fixture
async def matcher(database_url: str) -> AsyncIterator[Matcher]:
    """The matcher of BTC-USD, which holds its lease."""
    ledger = await Ledger.open(database_url, BTC_USD, 10_000)
    standing = await ledger.acquire("test")
    assert standing is not None
    yield Matcher(ledger, standing)
    await ledger.close()


@pytest.fixture
def look(database_url: str) -> psycopg.Connection:
    """Direct access to the tables, as a superuser."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection
