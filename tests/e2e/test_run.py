"""`python -m ops run`, from its first line to its last process."""

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from ops.analyst import add_analyst
from ops.priority import NICENESS
from ops.processes import running, wait_until
from tests.ops_run import ROOT, run, until_ready

ORDER = {
    "client_id": "alice",
    "side": "buy",
    "type": "limit",
    "price": 70000,
    "quantity": 0.5,
}


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def place_order(url: str) -> int:
    request = urllib.request.Request(
        f"{url}/orders", json.dumps(ORDER).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(response.status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_runs_takes_an_order_and_leaves_nothing_behind(number: signal.Signals) -> None:
    with run("--ephemeral", "--port", "0") as process:
        assert process.stdout is not None
        url = until_ready(process)
        assert place_order(url) == 201
        family = descendants(process)
        assert {"postgres", "valkey-server"} <= {child.name() for child in family}
        process.send_signal(number)
        said = process.stdout.read()
        assert process.wait(40) == 0
        assert not any(map(running, family)), said
        assert said.rstrip().endswith("stopped")


def test_with_a_market_it_lives_and_takes_its_orders_along(server_folder: Path) -> None:
    options = ("--data", str(server_folder), "--port", "0")
    with run(*options, "--market", "200") as process:
        url = until_ready(process)
        assert process.stdout is not None

        def lives() -> bool:
            with urllib.request.urlopen(f"{url}/market/ticker", timeout=10) as answer:
                ticker = json.load(answer)
            return ticker["trade_count"] > 5 and ticker["best_bid"] and ticker["best_ask"]

        assert wait_until(lives, 60)
        family = descendants(process)
        process.terminate()
        said = process.stdout.read()
        assert process.wait(40) == 0
        assert not any(map(running, family)), said
        assert "what rested is cancelled" in said
    with run(*options) as process:
        with urllib.request.urlopen(f"{until_ready(process)}/market/orderbook") as answer:
            book = json.load(answer)
        process.terminate()
        assert process.wait(40) == 0
    assert book["sequence"] > 0
    assert book["bids"] == book["asks"] == []


def test_second_signal_ends_it_at_once(server_folder: Path) -> None:
    with run("--data", str(server_folder), "--port", "0") as process:
        until_ready(process)
        family = descendants(process)
        web = next(child for child in family if "api" in child.cmdline())
        web.suspend()  # so that stopping in order takes its time
        process.terminate()
        assert not wait_until(lambda: process.poll() is not None, 1)
        process.terminate()
        assert process.wait(5) == 128 + signal.SIGTERM
        assert wait_until(lambda: not any(map(running, family)), 5)


def test_killed_run_takes_its_processes_along_and_the_next_one_starts(server_folder: Path) -> None:
    with run("--data", str(server_folder), "--port", "0") as process:
        url = until_ready(process)
        assert place_order(url) == 201
        family = descendants(process)
        process.kill()
        process.wait()
        port = url.rsplit(":", 1)[1]
        with run("--data", str(server_folder), "--port", port) as next_process:
            assert until_ready(next_process) == url
            assert place_order(url) == 201
            assert wait_until(lambda: not any(map(running, family)), 30)
            later_family = descendants(next_process)
            next_process.terminate()
            assert next_process.stdout is not None
            next_process.stdout.read()
            assert next_process.wait(40) == 0
            assert not any(map(running, later_family))


def test_process_that_is_killed_comes_back(server_folder: Path) -> None:
    with run("--data", str(server_folder), "--port", "0") as process:
        assert process.stdout is not None
        url = until_ready(process)
        pids = json.loads((server_folder / "instance.json").read_text())["pids"]
        os.kill(pids["matcher"], signal.SIGKILL)
        said = next(line for line in process.stdout if "matcher was ended by SIGKILL" in line)
        assert "starts again" in said
        assert next(line for line in process.stdout if "trading, epoch 2" in line)
        assert place_order(url) == 201
        process.terminate()
        process.stdout.read()
        assert process.wait(40) == 0


def test_sessions_of_analysts_get_the_lowest_priority_and_no_others(server_folder: Path) -> None:
    with run("--data", str(server_folder), "--port", "0") as process:
        until_ready(process)
        database = json.loads((server_folder / "instance.json").read_text())["postgres_url"]
        with psycopg.connect(database, autocommit=True) as admin:
            password = add_analyst(admin, "ada")
            with psycopg.connect(database, user="ada", password=password) as analyst:
                pid = analyst.info.backend_pid
                assert wait_until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == NICENESS, 10)
                # The matcher's, the web process's and this test's.
                others = admin.execute(
                    "SELECT pid FROM pg_stat_activity WHERE usename = 'exchange'"
                ).fetchall()
                assert len(others) >= 3
                usual = os.getpriority(os.PRIO_PROCESS, 0)
                assert {os.getpriority(os.PRIO_PROCESS, other) for (other,) in others} == {usual}
        process.terminate()
        assert process.stdout is not None
        process.stdout.read()
        assert process.wait(40) == 0


def orders_received(url: str) -> float:
    """Return what /metrics says of limit orders to buy."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        text = response.read().decode()
    return float(text.split('orders_received_total{side="buy",type="limit"} ')[1].split()[0])


def test_each_run_counts_anew_and_its_processes_add_up(server_folder: Path) -> None:
    for _ in range(2):
        with run("--data", str(server_folder), "--port", "0") as process:
            assert process.stdout is not None
            url = until_ready(process)
            assert orders_received(url) == 0
            assert place_order(url) == 201
            assert orders_received(url) == 1
            with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
                assert b'matcher_epoch{instrument="BTC-USD"}' in response.read()
            process.terminate()
            process.stdout.read()
            assert process.wait(40) == 0


def read_some(terminal: int) -> str:
    """Return what was printed, or nothing when nothing is for a moment."""
    if not select.select([terminal], [], [], 0.1)[0]:
        return ""
    return os.read(terminal, 4096).decode(errors="replace")


@pytest.mark.parametrize("form", ["", "json"])
def test_a_person_at_a_terminal_reads_text_unless_json_is_wanted(form: str) -> None:
    terminal, end_of_run = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "ops", "run", "--ephemeral", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": "", "REDIS_URL": "", "LOG_FORMAT": form},
            stdout=end_of_run,
            stderr=subprocess.STDOUT,
        ) as process:
            said = ""
            try:
                while "trading, epoch 1" not in said and process.poll() is None:
                    said += read_some(terminal)
                line = next(line for line in said.splitlines() if "trading, epoch 1" in line)
                assert ('{"time":' in line) == (form == "json")
            finally:
                process.terminate()
                # Read on: a terminal that is full would hold it up.
                while process.poll() is None:
                    read_some(terminal)
    finally:
        os.close(terminal)
        os.close(end_of_run)


def test_taken_port_is_one_line(server_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with run("--data", str(server_folder), "--port", str(port)) as process:
            said, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.startswith(f"Error: Port {port} is taken: ")
    assert said.count("\n") == 1
    assert not server_folder.exists()


def test_second_run_on_the_folder_is_one_line_and_commands_find_the_first(
    server_folder: Path, tmp_path: Path
) -> None:
    with run("--data", str(server_folder), "--port", "0") as process:
        assert process.stdout is not None
        url = until_ready(process)
        with run("--data", str(server_folder), "--port", "0") as second:
            said, _ = second.communicate(timeout=20)
            assert second.returncode == 1
            assert "already runs" in said
            assert url in said
        port = url.rsplit(":", 1)[1]
        with run("--data", str(server_folder), "--port", port) as third:
            said, _ = third.communicate(timeout=20)
            assert third.returncode == 1
            assert f"Port {port} is taken: Trade engine already runs at {url}" in said
        assert ops("url", "http", "--data", str(server_folder)) == url + "\n"
        assert ops("url", "redis", "--data", str(server_folder)).startswith("redis://:")
        assert ops("migrate", "--data", str(server_folder)) == ""
        data = ("--data", str(server_folder))
        listed = ops("instruments", *data, "add", "DOGE-USD", "--tick", "0.0001", "--lot", "1")
        assert "DOGE-USD" in listed
        process.terminate()
        process.stdout.read()
        assert process.wait(40) == 0


def ops(*arguments: str) -> str:
    """Return what a command prints."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    command = [sys.executable, "-m", "ops", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=30
    ).stdout


def until_said(process: subprocess.Popen[str], text: str) -> str:
    """Return the next line with `text` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return line
    raise AssertionError("".join(lines))


def test_dev_starts_processes_again_when_their_code_changes() -> None:
    with run("--ephemeral", "--port", "0", "--dev") as process:
        url = until_ready(process)
        before = web_pids(process)
        os.utime(ROOT / "api" / "app.py")
        until_said(process, "api/app.py has changed")
        assert wait_until(lambda: bool(web_pids(process) - before), 30)
        assert wait_until(lambda: answers(f"{url}/readyz"), 30)
        assert place_order(url) == 201
        process.terminate()
        assert process.wait(40) == 0


def web_pids(process: subprocess.Popen[str]) -> set[int]:
    pids = set()
    for child in descendants(process):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if child.cmdline()[-2:] == ["-m", "api"]:
                pids.add(child.pid)
    return pids


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_one_process_on_a_platform(database_url: str, redis_url: str) -> None:
    """`ops run` with given servers is all of it: for platforms that run a single process."""
    given = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "EXCHANGE_ENV": "production"}
    with run("--ephemeral", "--port", "0", **given) as process:
        url = until_ready(process)
        assert place_order(url) == 201
        assert not {"postgres", "valkey-server"} & {child.name() for child in descendants(process)}
        process.terminate()
        assert process.wait(40) == 0


def test_the_servers_alone_for_processes_of_somebody_else() -> None:
    with run("--ephemeral", "--port", "0", "--servers") as process:
        line = until_said(process, "export ")
        given = dict(word.split("=", 1) for word in line.split()[1:])
        assert given.keys() == {"PORT", "DATABASE_URL", "REDIS_URL"}
        with psycopg.connect(given["DATABASE_URL"]) as connection:
            assert connection.execute("SELECT count(*) FROM exchange.instruments").fetchone()
        with redis.Redis.from_url(given["REDIS_URL"]) as client:
            assert client.ping()
        assert {child.name() for child in descendants(process)} >= {"postgres", "valkey-server"}
        assert web_pids(process) == set()
        process.terminate()
        assert process.wait(40) == 0
