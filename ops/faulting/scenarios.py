"""The table of faults: what is done to a trading exchange, each in a few lines.

Numbers are those of the fault matrix in ops/docs/FAILURES.md. A scenario marks the moment from
which recovery is measured: for a kill that is the kill, for a fault that lasts it is its end.
"""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil
import psycopg

from ops.errors import OpsError
from ops.faulting import clocks, disk
from ops.faulting.background import jobs_die_at, mirror_dies_at, two_mirrors
from ops.faulting.cluster import INSTRUMENTS, wait_for
from ops.faulting.machine import (
    HOUR_S,
    log_disk_full,
    no_descriptors,
    no_room_for_logs,
    tables_disk_full,
    wrong_clock,
)
from ops.faulting.run import ASLEEP_S, Hurt, Run, living, put_in_charge, replace_web


def never() -> str:
    """Nothing is missing."""
    return ""


class Scenario(NamedTuple):
    """One way to fail. `quick` ones are in every test run.

    `missing` says why this machine cannot fail so, "" when it can.
    """

    name: str
    numbers: str
    hurt: Hurt
    quick: bool = False
    missing: Callable[[], str] = never


# Matchers.


def kill_matcher(run: Run) -> None:
    victim = run.cluster.anyone(run.chance)
    run.mark()
    run.cluster.kill(victim)


def terminate_matcher(run: Run) -> None:
    victim = run.cluster.anyone(run.chance)
    run.mark()
    run.cluster.terminate(victim)


def kill_all_matchers(run: Run) -> None:
    run.mark()
    for victim in list(run.cluster.matchers):
        run.cluster.kill(victim)


def freeze_matcher(run: Run) -> None:
    """It sleeps beyond its lease, another takes over, and it wakes up as a zombie."""
    victim = run.cluster.anyone(run.chance)
    epochs = run.cluster.epochs()
    run.mark()
    with run.cluster.frozen(victim):
        wait_for(lambda: run.cluster.epochs() != epochs, "a take-over")
        run.some_orders()


def six_matchers(run: Run) -> None:
    for _ in range(4):
        run.cluster.matcher()
    wait_for(lambda: living(run.cluster) >= 6, "six matchers")
    run.mark()
    for victim in run.chance.sample(run.cluster.matchers, 4):
        run.cluster.kill(victim)


def matcher_dies_at(point: str, times: int = 4) -> Hurt:
    """Return: a matcher kills itself at a failpoint while it trades, and another takes over."""

    def hurt(run: Run) -> None:
        armed = put_in_charge(run, f"{point}=kill@{run.chance.randint(1, times)}")
        if not run.cluster.await_end(armed):
            raise OpsError(f"{point} was never reached\n{armed.last_words()}")
        run.mark()

    return hurt


def matcher_sleeps_at(point: str) -> Hurt:
    """Return: a matcher stops at a failpoint until it is a zombie, and goes on from there."""

    def hurt(run: Run) -> None:
        armed = put_in_charge(run, f"{point}=freeze@{run.chance.randint(1, 4)}")
        if not run.cluster.await_frozen(armed):
            raise OpsError(f"{point} was never reached\n{armed.last_words()}")
        run.mark()
        run.load.await_recovery(30)
        run.some_orders()
        armed.send(signal.SIGCONT)

    return hurt


def matcher_fails_at(point: str) -> Hurt:
    """Return: a call of a matcher fails, and it recovers by itself."""

    def hurt(run: Run) -> None:
        armed = put_in_charge(run, f"{point}=error@{run.chance.randint(1, 5)}")
        run.mark()
        run.some_orders()
        if not armed.alive:
            raise OpsError(f"an error at {point} ended the matcher\n{armed.last_words()}")

    return hurt


def crash_loop(run: Run) -> None:
    """Every matcher that takes over dies while it recovers, three times in a row."""
    points = ("ledger.acquire.after", "ledger.load_open_orders.after", "stream.open.after",
              "stream.publish_depth.before", "stream.publish_depth.after")  # fmt: skip
    cluster = run.cluster
    run.mark()
    for _ in range(3):
        armed = cluster.matcher(f"{run.chance.choice(points)}=kill")
        for other in [process for process in cluster.matchers if process is not armed]:
            if other.alive:
                cluster.kill(other)
        if not cluster.await_end(armed):
            raise OpsError(f"it recovered after all\n{armed.last_words()}")


def dies_releasing(run: Run) -> None:
    """A matcher that is told to stop dies while it gives its lease back."""
    point = run.chance.choice(("before", "after"))
    armed = put_in_charge(run, f"ledger.release.{point}=kill")
    run.some_orders()
    run.mark()
    armed.send(signal.SIGTERM)
    if not run.cluster.await_end(armed):
        raise OpsError(f"ledger.release.{point} was never reached\n{armed.last_words()}")


def slow_commits(run: Run) -> None:
    put_in_charge(run, f"ledger.commit.before=delay:{run.chance.randint(50, 250)}")
    run.some_orders()
    run.mark()


# Web processes.


def kill_web(run: Run) -> None:
    run.mark()
    run.cluster.kill(run.cluster.webs[-1])


def terminate_web(run: Run) -> None:
    run.mark()
    run.cluster.terminate(run.cluster.webs[-1])


def web_dies_at(point: str) -> Hurt:
    """Return: a web process kills itself at a failpoint while clients wait."""

    def hurt(run: Run) -> None:
        armed = replace_web(run, f"{point}=kill@{run.chance.randint(1, 10)}")
        if not run.cluster.await_end(armed):
            raise OpsError(f"{point} was never reached\n{armed.last_words()}")
        run.mark()

    return hurt


def web_fails_at(point: str) -> Hurt:
    """Return: a call of a web process fails once; clients hear 503 or ask again."""

    def hurt(run: Run) -> None:
        replace_web(run, f"{point}=error@{run.chance.randint(1, 5)}")
        run.cluster.wait_ready()
        run.some_orders()
        run.mark()

    return hurt


def clients_go_away(run: Run) -> None:
    run.mark()
    run.load.abandon(30)


# Redis.


def restart_redis(run: Run) -> None:
    run.mark()
    run.cluster.restart(run.cluster.valkey)


def restart_redis_empty(run: Run) -> None:
    valkey = run.cluster.valkey
    run.mark()
    run.cluster.restart(valkey, lambda: shutil.rmtree(valkey.folder))


def truncate_redis_log(run: Run) -> None:
    """The last of the append-only file is lost, as when the machine lost its power."""
    valkey = run.cluster.valkey

    def truncate() -> None:
        for log in valkey.folder.glob("appendonlydir/*.incr.aof"):
            with log.open("rb+") as file:
                file.truncate(int(log.stat().st_size * run.chance.uniform(0.5, 0.99)))

    run.mark()
    run.cluster.restart(valkey, truncate)


def flush_redis(run: Run) -> None:
    run.mark()
    with run.cluster.redis as connection:
        connection.flushall()


def delete_streams(run: Run) -> None:
    run.mark()
    with run.cluster.redis as connection:
        connection.delete(*(f"orders:{{{name}}}" for name in INSTRUMENTS))


def trim_streams(run: Run) -> None:
    """Entries that nobody has read are gone."""
    run.mark()
    with run.cluster.redis as connection:
        for name in INSTRUMENTS:
            connection.xtrim(f"orders:{{{name}}}", maxlen=0, approximate=False)


def destroy_groups(run: Run) -> None:
    run.mark()
    with run.cluster.redis as connection:
        for name in INSTRUMENTS:
            for group in connection.xinfo_groups(f"orders:{{{name}}}"):
                connection.xgroup_destroy(f"orders:{{{name}}}", group["name"])


def repeat_entries(run: Run) -> None:
    """The stream holds entries again, in another order."""
    run.mark()
    with run.cluster.redis as connection:
        for name in INSTRUMENTS:
            key = f"orders:{{{name}}}"
            entries = []
            for _ in range(200):
                entries += [fields for _, fields in connection.xrange(key, count=50) or ()]
                if len(entries) >= 20:
                    break
            run.chance.shuffle(entries)
            for fields in entries[:50]:
                connection.xadd(key, fields)


def redis_clock_back(run: Run) -> None:
    """Ids are an hour ahead of the clock from now on, as after the clock went back."""
    run.mark()
    with run.cluster.redis as connection:
        for name in INSTRUMENTS:
            last = connection.xinfo_stream(f"orders:{{{name}}}")["last-generated-id"].decode()
            ahead = int(last.split("-")[0]) + 3_600_000
            connection.xadd(f"orders:{{{name}}}", {"floor": ""}, id=f"{ahead}-0")


def redis_memory_full(run: Run) -> None:
    with run.cluster.redis as connection:
        connection.config_set("maxmemory", "1mb")
        time.sleep(run.chance.uniform(0.2, 1.0))
        connection.config_set("maxmemory", "0")
    run.mark()


def freeze_server(server: str) -> Hurt:
    """Return: a server is silent for longer than a lease; it closes no connection."""

    def hurt(run: Run) -> None:
        owner = getattr(run.cluster, server)
        root = psutil.Process(owner.pid)
        family = [root, *root.children(recursive=True)]
        for process in family:
            process.suspend()
        run.cluster.count(signal.SIGSTOP, owner.name)
        time.sleep(run.chance.uniform(0.5, 2.5))
        for process in family:
            process.resume()
        run.mark()

    return hurt


def poison(run: Run) -> None:
    """Entries that no edge could have written."""
    bad = (b"", b"{", b"\x00", b"[]", b'{"command":"submit"}', b'{"command":"fly","ttl_ms":1}',
           b'{"command":"cancel","order_id":"a\\u0000b","ttl_ms":1,"reply_to":"x","correlation":1}',
           b'{"command":"cancel","order_id":"x","ttl_ms":1e400,"reply_to":"x","correlation":1}',
           b"\xff\xfe", b"9" * 10_000)  # fmt: skip
    run.mark()
    with run.cluster.redis as connection:
        for name in INSTRUMENTS:
            for payload in bad:
                connection.xadd(f"orders:{{{name}}}", {"request": payload})
            connection.xadd(f"orders:{{{name}}}", {"something": "else"})


# PostgreSQL.


def restart_postgres(run: Run) -> None:
    run.mark()
    run.cluster.restart(run.cluster.postgres)


def terminate_backends(run: Run) -> None:
    run.mark()
    with run.cluster.look() as look:
        for _ in range(run.chance.randint(1, 3)):
            look.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'exchange_%' AND datname = current_database()"
            )
            time.sleep(run.chance.uniform(0, 0.2))


@contextmanager
def transaction(run: Run) -> Iterator[psycopg.Connection]:
    with psycopg.connect(run.cluster.database_url) as connection:
        yield connection
        connection.rollback()


def lock_shards(run: Run) -> None:
    with transaction(run) as connection:
        connection.execute("SELECT FROM exchange.shard FOR UPDATE")
        time.sleep(run.chance.uniform(0.2, ASLEEP_S))
    run.mark()


def long_transaction(run: Run) -> None:
    with transaction(run) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM exchange.orders")
        run.mark()
        run.some_orders()


# The network.


def network(server: str, who: str, how: str) -> Hurt:
    """Return: the connections of `who` to a server are hurt, for a while."""

    def hurt(run: Run) -> None:
        proxy = run.cluster.redis_proxy if server == "redis" else run.cluster.postgres_proxy
        if who == "matcher":
            put_in_charge(run, proxied=True)
        else:
            replace_web(run, proxied=True)
            run.cluster.wait_ready()
        run.some_orders()
        wait_for(lambda: proxy.connections > 0, "connections through the proxy")
        seconds = run.chance.uniform(0.1, ASLEEP_S)
        match how:
            case "reset":
                proxy.reset()
                seconds = 0
            case "cut":
                proxy.cut()
            case "stall":
                proxy.stall()
            case "deaf up":
                proxy.deafen("up")
            case "deaf down":
                proxy.deafen("down")
            case "lost answers":
                proxy.lose_answers(run.chance.randint(1, 3))
            case "slow":
                proxy.delay(0.05)
        time.sleep(seconds)
        proxy.restore()
        run.mark()

    return hurt


# Everything.


def rolling_restart(run: Run) -> None:
    run.mark()
    for process in list(run.cluster.matchers):
        if process.alive:
            run.cluster.matcher()
            run.cluster.terminate(process)
    run.cluster.terminate(run.cluster.webs[-1])


def everything(run: Run) -> None:
    """The machine is gone and comes back."""
    cluster = run.cluster
    run.mark()
    for process in cluster.processes:
        if process.alive:
            cluster.kill(process)
    postgres_port, redis_port = cluster.postgres.port, cluster.valkey.port
    cluster.postgres.kill()
    cluster.valkey.kill()
    cluster.count(signal.SIGKILL, "postgres")
    cluster.count(signal.SIGKILL, "valkey")
    cluster.postgres.start(postgres_port)
    cluster.valkey.start(redis_port)


TABLE: tuple[Scenario, ...] = (
    Scenario("kill a matcher", "1, 33", kill_matcher, True),
    Scenario("terminate a matcher", "32", terminate_matcher),
    Scenario("kill all matchers", "3", kill_all_matchers),
    Scenario("matcher dies before commit", "1", matcher_dies_at("ledger.commit.before"), True),
    Scenario("matcher dies after commit", "2", matcher_dies_at("ledger.commit.after"), True),
    Scenario("matcher dies before publish", "2", matcher_dies_at("stream.publish.before")),
    Scenario("matcher dies after publish", "2", matcher_dies_at("stream.publish.after")),
    Scenario("matcher dies after read", "1", matcher_dies_at("stream.read.after")),
    Scenario("matcher dies with the lease", "3", matcher_dies_at("ledger.acquire.after", 1)),
    Scenario("matcher dies loading", "3", matcher_dies_at("ledger.load_open_orders.after", 1)),
    Scenario("matcher dies opening", "3", matcher_dies_at("stream.open.after", 1)),
    Scenario("matcher dies releasing", "32", dies_releasing),
    Scenario("crash loop in recovery", "3", crash_loop, True),
    Scenario("matcher sleeps, wakes", "4, 5", freeze_matcher, True),
    Scenario("zombie before commit", "4", matcher_sleeps_at("ledger.commit.before")),
    Scenario("zombie before publish", "5", matcher_sleeps_at("stream.publish.before"), True),
    Scenario("zombie after read", "5", matcher_sleeps_at("stream.read.after")),
    Scenario("six matchers, four killed", "6", six_matchers),
    Scenario("commit fails", "24", matcher_fails_at("ledger.commit.before")),
    Scenario("commit's answer lost", "24", matcher_fails_at("ledger.commit.after"), True),
    Scenario("read's answer lost", "10", matcher_fails_at("stream.read.after")),
    Scenario("publish's answer lost", "26", matcher_fails_at("stream.publish.after")),
    Scenario("slow commits", "21", slow_commits),
    Scenario("kill the web process", "7", kill_web, True),
    Scenario("terminate the web process", "32", terminate_web),
    Scenario("web dies before append", "7", web_dies_at("writer.append.before")),
    Scenario("web dies after append", "7", web_dies_at("writer.append.after")),
    Scenario("append fails", "9", web_fails_at("writer.append.before")),
    Scenario("append's answer lost", "9", web_fails_at("writer.append.after"), True),
    Scenario("clients go away", "8", clients_go_away, True),
    Scenario("kill Redis", "11", restart_redis, True),
    Scenario("Redis comes back empty", "12", restart_redis_empty),
    Scenario("FLUSHALL", "12", flush_redis, True),
    Scenario("DEL of the streams", "12", delete_streams, True),
    Scenario("Redis lost its last writes", "13", truncate_redis_log),
    Scenario("Redis's clock an hour back", "14, 31", redis_clock_back),
    Scenario("Redis's memory full", "15", redis_memory_full),
    Scenario("streams trimmed unread", "16", trim_streams),
    Scenario("groups destroyed", "16", destroy_groups),
    Scenario("entries repeated, shuffled", "17", repeat_entries, True),
    Scenario("Redis silent", "18", freeze_server("valkey")),
    Scenario("poison entries", "30", poison),
    Scenario("backends terminated", "19", terminate_backends, True),
    Scenario("kill PostgreSQL", "20", restart_postgres, True),
    Scenario("PostgreSQL silent", "20", freeze_server("postgres")),
    Scenario("shard rows locked", "23", lock_shards),
    Scenario("analyst's transaction", "25", long_transaction),
    *(
        Scenario(f"{server} {how}, {who}", "26", network(server, who, how), quick)
        for server, who, how, quick in (
            ("redis", "matcher", "cut", False),
            ("redis", "matcher", "reset", False),
            ("redis", "matcher", "stall", False),
            ("redis", "matcher", "deaf up", False),
            ("redis", "matcher", "deaf down", True),
            ("redis", "matcher", "lost answers", False),
            ("postgres", "matcher", "cut", False),
            ("postgres", "matcher", "reset", False),
            ("postgres", "matcher", "stall", True),
            ("postgres", "matcher", "deaf up", False),
            ("postgres", "matcher", "deaf down", False),
            ("postgres", "matcher", "lost answers", False),
            ("postgres", "matcher", "slow", False),
            ("redis", "web", "cut", False),
            ("redis", "web", "reset", True),
            ("redis", "web", "stall", False),
            ("redis", "web", "deaf down", False),
            ("redis", "web", "lost answers", False),
            ("postgres", "web", "cut", False),
            ("postgres", "web", "deaf down", False),
        )
    ),
    Scenario("tables' disk full", "22", tables_disk_full, missing=disk.why_missing),
    Scenario("log's disk full", "22", log_disk_full, missing=disk.why_missing),
    *(
        Scenario(
            f"{who}'s clock an hour {'ahead' if seconds > 0 else 'back'}",
            "31",
            wrong_clock(who, seconds),
            missing=clocks.why_missing,
        )
        for who in ("matcher", "web", "postgres", "valkey")
        for seconds in (HOUR_S, -HOUR_S)
    ),
    Scenario("matcher out of descriptors", "34", no_descriptors("matcher")),
    Scenario("web out of descriptors", "34", no_descriptors("web")),
    Scenario("no room for logs", "34", no_room_for_logs),
    *(
        Scenario(f"jobs die at {point}", "29", jobs_die_at(point, times))
        for point, times in (
            ("jobs.claim.before", 4),
            ("jobs.claim.after", 4),
            ("jobs.finish.before", 4),
            ("jobs.finish.after", 4),
            ("jobs.hint_due.after", 4),
            ("messages.send.before", 4),
            ("messages.send.after", 4),
            ("jobs.register.after", 2),
        )
    ),
    *(
        Scenario(f"mirror dies at {point}", "28", mirror_dies_at(point))
        for point in (
            "mirror.begin.after",
            "mirror.read.after",
            "kafka.publish.before",
            "kafka.publish.after",
            "mirror.store.after",
            "mirror.end.before",
        )
    ),
    Scenario("two mirrors", "28", two_mirrors),
    Scenario("rolling restart", "32", rolling_restart),
    Scenario("everything killed", "20, 11", everything),
)
BY_NAME = {scenario.name: scenario for scenario in TABLE}
