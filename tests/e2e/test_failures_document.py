"""ops/docs/FAILURES.md, kept true: each cell of its table of answers is asked for."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from ops.embedded import Postgres, Valkey
from ops.embedded.server import Server
from ops.migrate import migrate
from tests.exchange import Client, Exchange, eventually, running
from tests.frames import ping_pong

DOCUMENT = Path(__file__).parents[2] / "ops" / "docs" / "FAILURES.md"
# On processors that others use as well.
SLACK_S = 2.0


def rows() -> Iterator[list[str]]:
    """Yield the cells of the table of answers, its head first."""
    inside = False
    for line in DOCUMENT.read_text().splitlines():
        inside = line.startswith("| request |") or (inside and line.startswith("|"))
        if inside and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


HEAD, *ROWS = rows()
FAULTS = HEAD[1:-1]


def family(server: Server) -> list[psutil.Process]:
    root = psutil.Process(server.pid)
    return [root, *root.children(recursive=True)]


@contextmanager
def gone(server: Server) -> Iterator[None]:
    port = server.port
    server.kill()
    try:
        yield
    finally:
        server.start(port)


@contextmanager
def silent(server: Server) -> Iterator[None]:
    stopped = family(server)
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


@contextmanager
def no_matcher(exchange: Exchange) -> Iterator[None]:
    matcher = exchange.processes[0]
    matcher.kill()
    matcher.wait()
    eventually(lambda: not exchange.ready(), "the lease has run out")
    try:
        yield
    finally:
        exchange.matcher()


def ask(exchange: Exchange, request: str, number: int) -> str:
    """Send a row's request; return the answer as the table says it."""
    method, path = re.findall(r"`(\w+) ([^`]+)`", request)[0]
    if method == "WebSocket":
        with closing(socket.create_connection(("127.0.0.1", exchange.port), timeout=10)) as made:
            return ping_pong(made, exchange.port)
    order_id = "rests" if "cancel" in path else "it"
    path = path.replace("{order_id}", order_id).replace("{client_id}", "a")
    path = path.replace("?instrument=", "?instrument=BTC-USD")
    order = {
        "client_id": "a", "side": "buy", "type": "limit", "price": 1, "quantity": 1,
        "order_id": f"order-{number}",
    }  # fmt: skip
    bodies = {"/orders": order, "/orders/batch": {"orders": [order]}}
    body = bodies.get(path) if method == "POST" else None
    with Client(exchange.port, 30) as client:
        answer = client.request(method, path, body)
    if path == "/orders/batch" and answer.status == 200:
        return str(answer.json["results"][0]["status"])
    if answer.status in (429, 503) and path not in ("/healthz", "/readyz"):
        assert "retry-after" in answer.headers
    return str(answer.status)


def timed(exchange: Exchange, number: int, row: list[str]) -> tuple[list[str], str, float]:
    """Ask for a row; return it, the answer, and how many seconds that took."""
    began = time.monotonic()
    answer = ask(exchange, row[0], number)
    return row, answer, time.monotonic() - began


@pytest.mark.parametrize("fault", FAULTS)
def test_every_cell(fault: str, server_folder: Path, tmp_path: Path) -> None:
    with Postgres(server_folder) as postgres, Valkey(server_folder) as valkey:
        migrate(postgres.url)
        with running(postgres.url, valkey.url, tmp_path) as exchange:
            faults: dict[str, Callable[[], object]] = {
                "Redis gone": lambda: gone(valkey),
                "Redis silent": lambda: silent(valkey),
                "PostgreSQL gone": lambda: gone(postgres),
                "PostgreSQL silent": lambda: silent(postgres),
                "no matcher": lambda: no_matcher(exchange),
            }
            with exchange.client() as client:
                for order_id in ("it", "rests"):
                    answer = client.order("buy", 1, 10, order_id=order_id, client_id="a")
                    assert answer.status == 201
            found: dict[str, str] = {}
            late: dict[str, float] = {}
            with faults[fault]():  # type: ignore[attr-defined]
                # What uses the connections from before: it may take longer, and be unsure.
                for number, request in enumerate(("`POST /orders`", "`GET /orders/{order_id}`")):
                    assert ask(exchange, request, -number - 1) in ("200", "503", "504")
                with ThreadPoolExecutor(len(ROWS)) as pool:
                    for row, answer, took in pool.map(
                        lambda numbered: timed(exchange, *numbered), enumerate(ROWS)
                    ):
                        found[row[0]] = answer
                        if took > float(row[-1].removesuffix(" s")) + SLACK_S:
                            late[row[0]] = took
            expected = {request: cells[FAULTS.index(fault)] for request, *cells in ROWS}
            assert found == expected
            assert late == {}

            def placed() -> bool:
                with exchange.client() as client:
                    return client.order("buy", 1, 10).status == 201

            eventually(placed, "orders are taken again")


def test_the_document_names_tests_that_exist() -> None:
    tests = Path(__file__).parents[1]
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", DOCUMENT.read_text())
    assert len(named) > 8
    for file, function in named:
        (path,) = tests.rglob(file)
        assert not function or f"def {function}(" in path.read_text(), f"{file}::{function}"
