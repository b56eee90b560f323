"""README.md, QUICKSTART.md and OPERATIONS.md are done, command by command, as somebody new would.

And API.md, in each of its languages.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT, reader, run_program, steps
from tests.exchange import Exchange, free_port, running

README = ROOT / "README.md"
QUICKSTART = ROOT / "ops" / "docs" / "QUICKSTART.md"
OPERATIONS = ROOT / "ops" / "docs" / "OPERATIONS.md"
API = (ROOT / "ops" / "docs" / "API.md").read_text(encoding="utf-8")

Example = tuple[Exchange, dict[str, Any]]


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


@pytest.mark.parametrize("document", [README, QUICKSTART, OPERATIONS], ids=lambda path: path.name)
def test_every_command_does_what_the_document_says(document: Path, server_folder: Path) -> None:
    with reader(server_folder, free_port()) as somebody:
        assert somebody.read(document.read_text(encoding="utf-8")) > 5


def test_api_in_the_shell(exchange: Exchange, tmp_path: Path) -> None:
    with reader(tmp_path, exchange.port) as somebody:
        assert somebody.read(API) > 20


def test_api_in_python(exchange: Exchange, tmp_path: Path) -> None:
    command = [sys.executable, tmp_path / "api.py"]
    assert (
        run_program(API, "python", command, r'print("\0", end="", flush=True)', exchange.port) > 8
    )


@pytest.fixture
def example(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Example]:
    """What API.md's Python has defined when all of it has run, and the exchange it ran against."""
    impatient = {"EXCHANGE_SUBMIT_TIMEOUT_MS": "300"}
    with running(database_url, redis_url, tmp_path, **impatient) as exchange:
        text = "".join(step.text for step in steps(API, "python") if step.kind == "python")
        names: dict[str, Any] = {"__name__": "api"}
        exec(text.replace("127.0.0.1:3000", f"127.0.0.1:{exchange.port}"), names)  # noqa: S102
        with names["http"]:
            yield exchange, names


def test_its_loop_finds_every_outcome(example: Example) -> None:
    exchange, names = example
    order = {
        "client_id": "carol", "side": "buy", "type": "limit", "price": "1", "quantity": "1",
        "idempotency_key": "in-doubt",
    }  # fmt: skip
    exchange.processes[0].send_signal(signal.SIGSTOP)  # the matcher
    with exchange.client() as client:
        assert client.post("/orders", order).json["error"] == "unknown_outcome"
    with pytest.raises(TimeoutError, match="in-doubt"):
        names["submit"](order, patience_s=1)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(names["submit"], order)
        exchange.processes[0].kill()
        exchange.matcher()
        first = waiting.result()["order"]
    assert first["idempotency_key"] == "in-doubt"
    assert names["submit"](order)["order"]["order_id"] == first["order_id"]
    assert len(list(names["orders"](client_id="carol"))) == 1
    with pytest.raises(RuntimeError, match="idempotency_conflict"):
        names["submit"](order | {"quantity": "2"})


def test_its_feed_survives_the_loss_of_a_connection(example: Example) -> None:
    exchange, names = example
    book = names["Book"]()
    feed = names["follow"]("BTC-USD", book)
    while book.sequence is None:
        next(feed)
    web = exchange.processes[1]
    web.terminate()
    web.wait()
    exchange.web()
    exchange.wait_ready()
    names["submit"]({"client_id": "bob", "side": "sell", "type": "market", "quantity": "0.25"})
    # Though nobody was connected when it happened.
    trades = (message["data"] for message in feed if message["type"] == "trades")
    assert any(trade["quantity"] == Decimal("0.25") for trade in trades)
    with exchange.client() as client:
        shown = client.get("/market/orderbook?levels=100").json
    while book.sequence < shown["sequence"]:
        next(feed)
    assert book.bids == {
        Decimal(str(level["price"])): Decimal(str(level["quantity"])) for level in shown["bids"]
    }
    feed.close()


def test_its_book_notices_a_gap(example: Example) -> None:
    _, names = example
    book = names["Book"]()
    level = {"price": 10, "quantity": 1}
    assert book.take({"snapshot": True, "sequence": 5, "bids": [level], "asks": []})
    delta = {"snapshot": False, "bids": [level | {"quantity": 0}], "asks": [level]}
    assert not book.take(delta | {"prev_sequence": 6, "sequence": 7})
    assert (book.sequence, book.best()) == (5, (10, None))
    assert book.take(delta | {"prev_sequence": 5, "sequence": 7})
    assert (book.sequence, book.best()) == (7, (None, 10))


def node() -> list[str]:
    """Return how Node is started, so that it has a WebSocket; or skip."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("there is no Node here to run JavaScript with")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.removeprefix("v").split(".")[0])
    if major < 20:
        pytest.skip(f"Node {major} has no WebSocket")
    return [program] if major >= 22 else [program, "--experimental-websocket"]


def test_api_in_javascript(exchange: Exchange, tmp_path: Path) -> None:
    command = [*node(), tmp_path / "api.mjs"]
    assert run_program(API, "js", command, r'process.stdout.write("\0");', exchange.port) > 8
