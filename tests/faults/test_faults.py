"""A short selection of faults against real processes; the long one is `python -m ops faults`.

The quick ones are always there; one more is drawn by EXCHANGE_FAULTS_SEED, which a failure
names.
"""

import os
import random
import time

import psycopg
import pytest

from ops.faulting.campaign import Campaign
from ops.faulting.cluster import INSTRUMENTS, Cluster
from ops.faulting.load import Load
from ops.faulting.scenarios import TABLE
from ops.verify import read_events
from tests.naive_book import NaiveBook
from workers.core.messages import CancelOrder, SubmitOrder, Trade

SEED = int(os.environ.get("EXCHANGE_FAULTS_SEED") or time.time_ns() % 1_000_000)
DRAWN = 1
# The longest that any fault may keep orders from being acknowledged, measured on shared processors.
RECOVERY_S = 10.0


def test_a_selection_of_faults(cluster: Cluster) -> None:
    chance = random.Random(SEED)
    quick = [scenario for scenario in TABLE if scenario.quick]
    others = [scenario for scenario in TABLE if not scenario.quick]
    chosen = quick + chance.sample(others, DRAWN)
    chance.shuffle(chosen)
    said: list[str] = [f"EXCHANGE_FAULTS_SEED={SEED}"]
    campaign = Campaign(
        cluster, SEED, said.append, clients=4, batch=10, pause_s=0.01, segment_s=600
    )
    campaign.segment(chosen, until=lambda: False)
    campaign_says = "\n".join(said)
    assert not campaign.failed, campaign_says
    figures = campaign.as_json()
    assert figures["runs"] == len(chosen), campaign_says
    assert figures["acknowledged"] > 500, campaign_says
    assert (figures["lost"], figures["duplicated"]) == (0, 0), campaign_says
    assert figures["unknown"] == figures["resolved"], campaign_says
    assert figures["worst_recovery_s"] < RECOVERY_S, campaign_says


@pytest.fixture(scope="module")
def traded(cluster: Cluster) -> Cluster:
    """A cluster that has traded a little, in peace."""
    cluster.begin()
    with Load(cluster.port, 7, clients=3, batch=10, pause_s=0.01) as load:
        load.await_orders(300)
        cluster.kill(cluster.matchers[0])
        load.await_orders(300)
    return cluster


def test_the_naive_book_makes_the_same_trades(traded: Cluster) -> None:
    """Commands as PostgreSQL tells them, fed to a book that is obviously right."""
    traded_in_all = 0
    with psycopg.connect(traded.database_url) as connection:
        for instrument_id, _ in enumerate(INSTRUMENTS, 1):
            book = NaiveBook()
            expected, logged = [], []
            for event in read_events(connection, instrument_id):
                name = str(event.order_no)
                match event.kind:
                    case "trade":
                        logged.append(
                            (event.sequence, event.trade_no, event.maker_order_no,
                             event.order_no, event.price_ticks, event.quantity_lots)
                        )  # fmt: skip
                        continue
                    case "cancelled" if event.type == "limit":
                        events = book.apply(CancelOrder(name, 0, 1))
                    case "cancelled":
                        continue  # what was left of a market order: the book says so itself
                    case _:
                        assert event.type is not None
                        events = book.apply(
                            SubmitOrder(
                                name, "a", event.side, event.type,
                                event.price_ticks if event.type == "limit" else 0,
                                event.quantity_lots, "", True, 0, 1,
                            )
                        )  # fmt: skip
                expected += [
                    (e.sequence, e.trade_no, e.maker.order_no, e.taker.order_no, e.price_ticks,
                     e.quantity_lots)
                    for e in events
                    if isinstance(e, Trade)
                ]  # fmt: skip
            assert logged == expected
            traded_in_all += len(logged)
    assert traded_in_all > 50
