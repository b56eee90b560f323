"""A database that went back, behind a Redis and clients that have seen more."""

from pathlib import Path

import psycopg
import redis

from tests.exchange import running
from workers.core.channels import depth_key, matcher_group, order_stream

INSTRUMENTS = ("BTC-USD", "ETH-USD", "SOL-USD")
FAR = 1_000_000


def test_an_old_redis_knows_later_epochs(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """As before a new or a restored database: one take-over jumps past them, not a million."""
    with redis.Redis.from_url(redis_url) as server:
        for name in INSTRUMENTS:
            server.hset(depth_key(name), mapping={"epoch": FAR, "sequence": 7})
            # This one died between its group and its first word.
            server.xadd(order_stream(name), {"floor": ""}, id="1-1")
            server.xgroup_create(order_stream(name), matcher_group(FAR + 5), "0")
    with running(database_url, redis_url, tmp_path) as exchange:
        with exchange.client() as client:
            assert client.order("buy", 1, 1).status == 201
        with psycopg.connect(database_url) as look, redis.Redis.from_url(redis_url) as server:
            epochs = look.execute("SELECT epoch FROM exchange.shard").fetchall()
            assert len(epochs) == len(INSTRUMENTS)
            for (epoch,) in epochs:
                assert FAR + 5 < epoch < FAR + 20
            for name in INSTRUMENTS:
                (group,) = server.xinfo_groups(order_stream(name))
                assert group["name"].decode() != matcher_group(FAR + 5)
