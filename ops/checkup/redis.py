"""Redis or Valkey: is it there, and does it keep entries until they are committed."""

import time
from collections.abc import Iterator

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.checkup.finding import Finding, judge, judge_clock
from workers.adapters.cluster import Nodes
from workers.adapters.redis import connect_blocking
from workers.settings import Settings

TIMEOUT_S = 5
VERSION_MIN = (7, 0)
MEMORY_USED_MAX = 0.8


def client(url: str, key: str = "") -> "redis.Redis":
    """Return a client that asks once; in a cluster, where `key` is. Close it."""
    return connect_blocking(
        url,
        key,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Check the server of REDIS_URL, or every node of a cluster that holds keys.

    Hosted ones hide CONFIG, so all of it comes from INFO.
    """
    nodes = Nodes(settings.redis_url)
    try:
        urls = (
            [nodes.url_of(address) for address in nodes.primaries()] if nodes.known else [nodes.url]
        )
        for url in urls:
            yield from _check_server(url)
    except (redis.RedisError, OSError) as error:
        yield Finding("redis", "problem", str(error), "start the cluster, or correct REDIS_URL")


def _check_server(url: str) -> Iterator[Finding]:
    server = client(url)
    try:
        yield from _check(server)
    except (redis.RedisError, OSError) as error:
        remedy = "start the server, or correct REDIS_URL"
        if "CERTIFICATE" in str(error).upper():
            remedy = "set REDIS_CA to its signer's certificate; REDIS_TLS_VERIFY=0 trusts any"
        yield Finding("redis", "problem", str(error), remedy)
    finally:
        server.close()


def _check(server: "redis.Redis") -> Iterator[Finding]:
    info = server.info()
    version = str(info["redis_version"])
    own = f", Valkey {info['valkey_version']}" if "valkey_version" in info else ""
    yield judge(
        "redis",
        tuple(map(int, version.split(".")[:2])) >= VERSION_MIN,
        f"version {version}{own}",
        "use Redis 7 or newer, or Valkey",
    )
    role = str(info.get("role", "master"))
    yield judge(
        "redis role",
        role == "master",
        role,
        "set REDIS_URL to the primary: a replica refuses writes",
    )
    policy = str(info.get("maxmemory_policy", "unknown"))
    yield judge(
        "redis maxmemory-policy",
        policy == "noeviction",
        policy,
        "a full memory would throw orders away: CONFIG SET maxmemory-policy noeviction, "
        "and the same in its configuration",
    )
    yield judge(
        "redis appendonly",
        bool(info.get("aof_enabled")),
        "yes" if info.get("aof_enabled") else "no",
        "a restart would lose orders that nobody was answered yet: CONFIG SET appendonly yes, "
        "and the same in its configuration",
        "warning",
    )
    writes = str(info.get("aof_last_write_status", "ok"))
    yield judge("redis disk", writes == "ok", writes, "its append-only file cannot be written: "
                "make room on its disk")  # fmt: skip
    most, used = int(info.get("maxmemory", 0)), int(info["used_memory"])
    yield judge(
        "redis memory",
        not most or used <= MEMORY_USED_MAX * most,
        f"{used // 1_048_576} MB used of {most // 1_048_576 if most else 'unlimited'}",
        "raise maxmemory: when it is full, orders are refused",
        "warning",
    )
    before_ms = time.time_ns() // 1_000_000
    seconds, microseconds = server.time()
    theirs_ms = seconds * 1000 + microseconds // 1000
    yield judge_clock("redis clock", before_ms, theirs_ms, time.time_ns() // 1_000_000 + 1)
