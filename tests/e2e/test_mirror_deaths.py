"""The small version of `python -m ops.bench.mirror deaths`, with everything real."""

import re

import pytest

from ops.bench.mirror import live_through, stand
from ops.embedded.kafka import why_missing
from tests import servers
from workers.jobs.mirror_messages import EVENTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_missing()), reason=f"no Apache Kafka here: {why_missing()}"),
]


def test_every_event_is_there_whatever_died() -> None:
    with servers.server_folder() as folder, stand(folder) as exchange:
        result = live_through(exchange, orders=1_000, rate=250, down_s=2.0, kills=2)
    assert result.sequence > 1_000
    # live_through itself fails on a gap; the rebuilt database is compared by `ops rebuild`.
    assert result.topics[EVENTS].last == result.sequence
    for name in ("orders", "trades", "books"):
        assert re.search(rf"^{name} +[1-9]\d* +0 *$", result.compared, re.MULTILINE)
