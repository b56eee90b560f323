"""Faults of the machine itself: full disks, wrong clocks, no descriptors, no room for logs."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

from ops.errors import OpsError
from ops.faulting.cluster import Process, wait_for
from ops.faulting.disk import MIB, SmallDisk
from ops.faulting.run import Hurt, Run, put_in_charge, replace_web

HOUR_S = 3_600
# A process looks at its wrong clock once a second.
CLOCK_SEEN_S = 1.2
# The log grows in files of 16 MiB.
LOG_ROOM_BYTES = 20 * MIB
TABLES_ROOM_BYTES = 2 * MIB
FULL_S = 120.0
RECOVERY_S = 30.0
NO_SPACE = "No space left on device"


def tables_disk_full(run: Run) -> float:
    """The disk of the tables has no room, then it has. PostgreSQL goes on all the time."""
    cluster, server = run.cluster, run.cluster.postgres
    with cluster.look() as look:
        ((number,),) = look.execute(
            "SELECT oid::integer FROM pg_database WHERE datname = current_database()"
        ).fetchall()
    with small_disk(run, server.folder / "base" / str(number), TABLES_ROOM_BYTES) as disk:
        cluster.wait_ready()
        await_full(run)
        time.sleep(run.chance.uniform(0.2, 1.0))
        disk.grow()
        run.mark()
        recovery_s = run.load.await_recovery(RECOVERY_S)
    back_to_normal(run)
    return recovery_s


def log_disk_full(run: Run) -> float:
    """The disk of the log has no room: PostgreSQL ends, and somebody starts it when there is."""
    server = run.cluster.postgres
    port = server.port
    with small_disk(run, server.folder / "pg_wal", LOG_ROOM_BYTES) as disk:
        await_full(run)
        wait_for(lambda: not server.running, "the end of PostgreSQL", FULL_S)
        time.sleep(run.chance.uniform(0.2, 1.0))
        disk.grow()
        run.mark()
        server.start(port)
        recovery_s = run.load.await_recovery(RECOVERY_S)
    back_to_normal(run)
    return recovery_s


@contextmanager
def small_disk(run: Run, folder: Path, room_bytes: int) -> Iterator[SmallDisk]:
    """Let PostgreSQL keep a folder on a small disk as long as this lasts; it is killed twice."""
    cluster = run.cluster
    port = cluster.postgres.port
    cluster.stop_hard(cluster.postgres)
    try:
        with SmallDisk(folder, room_bytes) as disk:
            cluster.postgres.start(port)
            try:
                yield disk
            finally:
                cluster.stop_hard(cluster.postgres)
    finally:
        cluster.postgres.start(port)


def await_full(run: Run) -> None:
    """Wait until PostgreSQL says that it has no room."""
    log = run.cluster.postgres.log
    start = log.stat().st_size

    def said() -> bool:
        with log.open("rb") as file:
            file.seek(start)
            return NO_SPACE.encode() in file.read()

    wait_for(said, f"{log.name} says: {NO_SPACE}", FULL_S)


def back_to_normal(run: Run) -> None:
    run.mark()
    run.load.await_recovery(RECOVERY_S)


def wrong_clock(who: str, seconds: int) -> Hurt:
    """Return: the clock of one kind of process jumps, and after a while jumps back.

    Trading goes on with the wrong clock.
    """

    def hurt(run: Run) -> float:
        clock = run.cluster.clock(who)
        clock.set(0)
        match who:
            case "matcher":
                put_in_charge(run, env=clock.variables)
            case "web":
                replace_web(run, env=clock.variables)
                run.cluster.wait_ready()
            case _:
                restart_with(run, who, clock.variables)
        back_to_normal(run)
        run.mark()
        clock.set(seconds)
        try:
            time.sleep(CLOCK_SEEN_S)
            run.load.await_recovery(RECOVERY_S)
            run.some_orders()
            # Whoever takes over has to do so with the clock as it is.
            run.cluster.kill(run.cluster.anyone(run.chance))
            run.cluster.complete()
            run.mark()
            recovery_s = run.load.await_recovery(RECOVERY_S)
        finally:
            clock.set(0)
        time.sleep(CLOCK_SEEN_S)
        run.mark()
        recovery_s = max(recovery_s, run.load.await_recovery(RECOVERY_S))
        if who in ("postgres", "valkey"):
            restart_with(run, who, {})
            back_to_normal(run)
        return recovery_s

    return hurt


def restart_with(run: Run, who: str, variables: dict[str, str]) -> None:
    server = getattr(run.cluster, who)
    server.variables = variables
    run.cluster.restart(server)


def no_descriptors(who: str) -> Hurt:
    """Return: a process may open nothing more, and loses what it has open to PostgreSQL."""

    def hurt(run: Run) -> None:
        cluster = run.cluster
        victim = cluster.webs[-1] if who == "web" else cluster.anyone(run.chance)
        with descriptors_limited(victim):
            if who == "web":
                run.load.abandon(30)
            with cluster.look() as look:
                look.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = %s AND datname = current_database()",
                    ("exchange_edge" if who == "web" else "exchange_matcher",),
                )
            time.sleep(run.chance.uniform(0.5, 1.5))
            if not victim.alive:
                raise OpsError(f"it ended for want of descriptors\n{victim.last_words()}")
        run.mark()

    return hurt


@contextmanager
def descriptors_limited(process: Process) -> Iterator[None]:
    watched = psutil.Process(process.pid)
    soft, hard = watched.rlimit(resource.RLIMIT_NOFILE)
    watched.rlimit(resource.RLIMIT_NOFILE, (watched.num_fds(), hard))
    try:
        yield
    finally:
        try:
            watched.rlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (psutil.NoSuchProcess, psycopg.Error):
            pass


def no_room_for_logs(run: Run) -> None:
    """Whatever the processes say cannot be written."""
    full = Path("/dev/full")
    replace_web(run, output=full)
    matcher = put_in_charge(run, output=full)
    run.mark()
    run.load.await_recovery(RECOVERY_S)
    # What they say most about: recovery.
    with run.cluster.look() as look:
        look.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'exchange_%' AND datname = current_database()"
        )
    run.mark()
    run.load.await_recovery(RECOVERY_S)
    for process in (matcher, run.cluster.webs[-1]):
        if not process.alive:
            raise OpsError(f"{process.name} ended for want of room for its log")
