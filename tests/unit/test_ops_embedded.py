"""The embedded servers, as the tests of faults use them: killed, left behind, started again."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import redis as redis_client
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops import processes
from ops.embedded import Postgres, Valkey
from ops.embedded.postgres import SETTINGS
from ops.embedded.server import Server, free_port
from ops.errors import OpsError

KINDS = (Postgres, Valkey)
NEVER = Retry(NoBackoff(), 0)
INSTALLED = Path("/usr/lib/postgresql/15/bin")


def write(server: Server) -> None:
    if isinstance(server, Postgres):
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'safe' AS value")
    else:
        with redis_client.Redis.from_url(server.url) as client:
            client.set("kept", "safe")
            client.config_set("appendfsync", "always")  # or the last second may be lost
            client.set("kept", "safe")


def read(server: Server) -> str | None:
    if isinstance(server, Postgres):
        with psycopg.connect(server.url) as connection:
            row = connection.execute("TABLE kept").fetchone()
            return str(row[0]) if row else None
    with redis_client.Redis.from_url(server.url, decode_responses=True) as client:
        return client.get("kept")


@pytest.mark.parametrize("kind", KINDS)
def test_keeps_its_data_over_stop_kill_and_a_kill_from_outside(
    kind: type[Server], server_folder: Path
) -> None:
    with kind(server_folder) as server:
        write(server)
        server.stop()
        assert not server.running
        assert read(server.start()) == "safe"
        server.kill()
        assert not server.running
        assert read(server.start()) == "safe"
        os.kill(server.pid, signal.SIGKILL)
        assert processes.wait_until(lambda: not server.running, 10)
        assert read(server.start()) == "safe"
    assert not server.running


@pytest.mark.parametrize("kind", KINDS)
def test_kill_leaves_no_process(kind: type[Server], server_folder: Path) -> None:
    with kind(server_folder) as server:
        process = psutil.Process(server.pid)
        family = [process, *process.children(recursive=True)]
        server.kill()
        assert not any(map(processes.running, family))


@pytest.mark.parametrize("kind", KINDS)
def test_start_ends_a_server_left_on_the_same_folder(
    kind: type[Server], server_folder: Path
) -> None:
    left = kind(server_folder).start()
    write(left)
    try:
        with kind(server_folder) as server:
            assert not left.running
            assert read(server) == "safe"
    finally:
        left.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's death")
def test_server_ends_when_its_parent_is_killed(kind: type[Server], server_folder: Path) -> None:
    source = f"""if True:
        import sys, time
        from ops.embedded import {kind.__name__} as Server
        print(Server(sys.argv[1]).start().pid, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", source, str(server_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert processes.wait_until(lambda: not processes.running(server), 20)


@pytest.mark.parametrize("kind", KINDS)
def test_two_servers_on_two_folders_do_not_disturb_each_other(
    kind: type[Server], server_folder: Path
) -> None:
    with kind(server_folder / "one") as one, kind(server_folder / "two") as two:
        write(one)
        assert one.running
        assert one.port != two.port
        assert one.url != two.url


@pytest.mark.parametrize("kind", KINDS)
def test_another_port_is_tried_when_the_first_is_lost(
    kind: type[Server], server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kind(server_folder / "one") as one:
        ports = iter([one.port, free_port()])
        monkeypatch.setattr("ops.embedded.server.free_port", lambda: next(ports))
        with kind(server_folder / "two") as two:
            assert two.port != one.port


def test_password_is_needed(server_folder: Path) -> None:
    with Postgres(server_folder) as server:
        address = server.url.split("@")[1]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://exchange:no@{address}")
    with (
        Valkey(server_folder) as server,
        redis_client.Redis(port=server.port, retry=NEVER) as client,
        pytest.raises(redis_client.AuthenticationError),
    ):
        client.ping()


def test_postgres_is_durable_whatever_the_configuration_says(server_folder: Path) -> None:
    with Postgres(server_folder) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        server.stop()
        server.start()
        with psycopg.connect(server.url) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


@pytest.mark.parametrize("version", [16, 18])
def test_each_version_of_the_wheel(version: int, server_folder: Path) -> None:
    with (
        Postgres(server_folder, version) as server,
        psycopg.connect(server.url) as connection,
    ):
        assert connection.info.server_version // 10_000 == version
        found = connection.execute("SHOW server_encoding").fetchone()
        assert found == ("UTF8",)


@pytest.mark.skipif(not INSTALLED.exists(), reason="no PostgreSQL 15 is installed here")
def test_an_installed_postgres(server_folder: Path) -> None:
    with (
        Postgres(server_folder, bin_dir=INSTALLED) as server,
        psycopg.connect(server.url) as connection,
    ):
        assert connection.info.server_version // 10_000 == 15


def test_data_of_another_version_is_refused(server_folder: Path) -> None:
    with Postgres(server_folder, 16):
        pass
    with pytest.raises(OpsError, match="written by PostgreSQL 16, this is 18"):
        Postgres(server_folder).start()


def test_lost_passwords_are_reported(server_folder: Path) -> None:
    with Postgres(server_folder):
        pass
    (server_folder / "secrets.json").unlink()
    with pytest.raises(OpsError, match=r"secrets\.json"):
        Postgres(server_folder).start()


def test_pid_file_that_names_another_process_does_not_hinder(server_folder: Path) -> None:
    with Postgres(server_folder) as server:
        pid_file = server.folder / "postmaster.pid"
        lines = pid_file.read_text().split("\n")
        server.kill()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
        assert server.start().running


def test_interrupted_initdb_does_no_harm(server_folder: Path) -> None:
    (server_folder / "postgres.new" / "base").mkdir(parents=True)
    (server_folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    server_folder.chmod(0o711)
    with Postgres(server_folder) as server:
        assert server.running


def test_valkey_starts_anew_when_its_folder_was_deleted(server_folder: Path) -> None:
    with Valkey(server_folder) as server:
        write(server)
        server.stop()
        shutil.rmtree(server.folder)
        assert read(server.start()) is None


def test_valkey_loads_a_file_that_was_cut_off(server_folder: Path) -> None:
    with Valkey(server_folder) as server:
        write(server)
        with redis_client.Redis.from_url(server.url) as client:
            client.set("last", "x" * 100)
        server.kill()
        (log,) = (server.folder / "appendonlydir").glob("*.incr.aof")
        os.truncate(log, log.stat().st_size - 10)
        assert read(server.start()) == "safe"
        with redis_client.Redis.from_url(server.url) as client:
            assert client.get("last") is None


def test_start_and_stop_may_be_repeated(server_folder: Path) -> None:
    server = Valkey(server_folder)
    server.stop()
    assert server.start().pid == server.start().pid
    server.stop()
    server.stop()
    server.kill()


def test_error_tells_the_servers_own_reason(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "max_connections", "no")
    with pytest.raises(OpsError, match=r'invalid value for parameter "max_connections"'):
        Postgres(server_folder).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as somebody else")
def test_root_is_told_which_folder_postgres_cannot_enter(server_folder: Path) -> None:
    closed = server_folder.parent / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(OpsError, match=rf"chmod o\+x {closed}$"):
        Postgres(closed / "data").start()
