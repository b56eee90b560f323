"""The pytest plugin: the fixture `exchange`. It costs nothing until a test asks for it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ops.testing.running import RunningExchange


@pytest.fixture(scope="session")
def exchange() -> "Iterator[RunningExchange]":
    """A whole exchange for all tests of the session: `exchange.url`, `exchange.stream_url`.

    Tests part themselves by the names of their clients, and by the instruments they trade. One that
    needs an exchange of its own takes `ops.testing.run_exchange()`.
    """
    from ops.testing.running import run_exchange

    with run_exchange() as running:
        yield running
