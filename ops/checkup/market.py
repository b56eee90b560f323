"""The exchange itself: is each instrument matched, and does its matcher keep up."""

from collections.abc import Iterator
from typing import Any

import psycopg
import redis

import sql
from ops.checkup.finding import Finding, judge
from ops.checkup.postgres import CONNECT_TIMEOUT_S
from ops.checkup.redis import client
from workers.core.channels import depth_key, order_stream
from workers.settings import Settings

# An entry that waits for longer is late, whatever the load.
WAITING_MS_MAX = 5_000


def check_market(settings: Settings) -> Iterator[Finding]:
    """Check every instrument of a migrated database, whose servers answered a moment ago."""
    try:
        yield from _check_all(settings)
    except (psycopg.Error, redis.RedisError) as error:
        yield Finding("instruments", "problem", str(error), "see to that server, and ask again")


def _check_all(settings: Settings) -> Iterator[Finding]:
    with psycopg.connect(
        settings.database_url, connect_timeout=CONNECT_TIMEOUT_S, autocommit=True
    ) as connection:
        connection.execute(sql.query("assume_role"), {"role": "exchange_owner"})
        shards = connection.execute(sql.queries("doctor.sql")["shards"]).fetchall()
    for shard in shards:
        server = client(settings.redis_url, order_stream(shard[0]))
        try:
            yield from _check(server, settings, *shard)
        finally:
            server.close()


def _check(
    server: "redis.Redis",
    settings: Settings,
    instrument: str,
    matched: bool,
    owner: str | None,
    epoch: int,
    position: str,
    dead_letters: int,
) -> Iterator[Finding]:
    yield judge(
        f"{instrument} lease",
        matched,
        f"epoch {epoch}, held by {owner}" if matched else f"nobody matches it since epoch {epoch}",
        "start a matcher: python -m workers.matching (see the Procfile)",
    )
    published = int(server.hget(depth_key(instrument), "epoch") or 0)
    if published > epoch:
        yield Finding(
            f"{instrument} epoch",
            "warning",
            f"Redis has seen epoch {published}, the database is at {epoch}",
            "another database is served by this Redis: give each its own; or this one was "
            "restored: run `python -m ops restored` before the matchers are started",
        )
    yield _lag(server, settings, instrument, position)
    yield judge(
        f"{instrument} dead letters",
        not dead_letters,
        str(dead_letters),
        "entries that could not be applied are kept: see exchange.dead_letters for their errors",
        "warning",
    )


def _lag(server: "redis.Redis", settings: Settings, instrument: str, position: str) -> Finding:
    """Judge what waits behind the position that PostgreSQL holds: the only one that counts."""
    check = f"{instrument} stream"
    most = settings.stream_waiting_max
    waiting: Any = server.xrange(order_stream(instrument), f"({position}", count=most)
    if not waiting:
        return Finding(check, "ok", "nothing waits")
    seconds, microseconds = server.time()
    oldest_ms = seconds * 1000 + microseconds // 1000 - int(waiting[0][0].partition("-")[0])
    many = f"{most} or more" if len(waiting) == most else str(len(waiting))
    return judge(
        check,
        oldest_ms <= WAITING_MS_MAX and len(waiting) < most,
        f"{many} entries wait, the oldest for {max(0, oldest_ms)} ms",
        "its matcher is dead, or slower than what comes in: see its log lines",
    )
