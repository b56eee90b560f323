"""Replay against a small exchange that answers as the API says, and misbehaves when told to."""

import argparse
import asyncio
import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from rich.console import Console

from ops import replay as replay_module
from ops.errors import OpsError
from ops.orders_file import read_orders
from ops.replay import (
    Acks,
    Replay,
    add_arguments,
    main,
    open_session,
    order_book_table,
    resume_advice,
    show_progress,
    summary,
)


class Exchange:
    """Orders rest, cancels cancel. `misbehave` sees each attempt and may name another behaviour.

    refuse         503, nothing applied
    limit          429 with Retry-After, nothing applied
    unknown        504, nothing applied
    apply_unknown  504, applied
    close          the connection is closed without an answer, nothing applied
    apply_close    the same, applied
    hang           no answer
    """

    def __init__(self) -> None:
        self.url = ""
        self.orders: dict[str, dict] = {}
        self.attempts: list[str] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.misbehave: Callable[[str, int], str | None] = lambda order_id, attempt: None
        # How long each order takes to be answered.
        self.delays_s: dict[str, float] = {}
        self._placed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        application = web.Application()
        application.router.add_post("/orders", self._submit)
        application.router.add_post("/orders/{order_id}/cancel", self._cancel)
        application.router.add_get("/market/orderbook", self._orderbook)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def placed(self, count: int) -> None:
        """Wait until that many orders are placed."""
        async with self._placed:
            await self._placed.wait_for(lambda: len(self.orders) >= count)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def _submit(self, request: web.Request) -> web.Response:
        body = await request.read()
        fields = orjson.loads(body)
        order_id = fields.get("order_id") or f"made-{len(self.orders)}"
        self.bodies.append(body)
        return await self._answer(request, order_id, lambda: self._place(order_id, fields))

    async def _cancel(self, request: web.Request) -> web.Response:
        order_id = request.match_info["order_id"]
        self.paths.append(request.path_qs)
        return await self._answer(
            request, f"cancel {order_id}", lambda: self._cancel_order(order_id)
        )

    async def _answer(
        self, request: web.Request, name: str, apply: Callable[[], web.Response]
    ) -> web.Response:
        self.attempts.append(name)
        behaviour = self.misbehave(name, self.attempts.count(name)) or ""
        await asyncio.sleep(self.delays_s.get(name, 0))
        answer = apply() if behaviour.startswith("apply") or not behaviour else None
        if behaviour == "refuse":
            return web.json_response({"error": "overloaded"}, status=503)
        if behaviour == "limit":
            return web.json_response(
                {"error": "rate_limit"}, status=429, headers={"Retry-After": "1"}
            )
        if behaviour.endswith("unknown"):
            return web.json_response({"error": "unknown_outcome"}, status=504)
        if behaviour.endswith("close"):
            assert request.transport
            request.transport.close()
        if behaviour == "hang":
            await asyncio.sleep(60)
        async with self._placed:
            self._placed.notify_all()
        return answer or web.Response()

    def _place(self, order_id: str, fields: dict) -> web.Response:
        if fields.get("price") == 0:
            return _json(400, {"error": "invalid", "message": "price must be above zero"})
        placed = self.orders.get(order_id)
        if placed and placed["sent"] != fields:
            return _json(409, {"error": "order_id_used", "message": "order_id is used"})
        self.orders[order_id] = {"sent": fields, "status": placed["status"] if placed else "open"}
        order = {"order_id": order_id, "status": self.orders[order_id]["status"]}
        trades = [{"trade_no": 1}] if fields.get("type") == "market" else []
        answer = {"order": order, "trades": trades, "orderbook": {"bids": [], "asks": []}}
        return _json(200 if placed else 201, answer)

    def _cancel_order(self, order_id: str) -> web.Response:
        order = self.orders.get(order_id)
        if order is None:
            return _json(404, {"error": "unknown_order", "message": "no such order"})
        if order["status"] == "cancelled":
            return _json(409, {"error": "finished", "message": "finished"})
        order["status"] = "cancelled"
        return _json(200, {"order": {"order_id": order_id, "status": "cancelled"}})

    async def _orderbook(self, request: web.Request) -> web.Response:
        bids = [{"price": 70150.5, "quantity": 0.25}, {"price": 70150, "quantity": 1}]
        if request.query["instrument"] != "BTC-USD" or request.query["levels"] != "5":
            return _json(404, {"error": "unknown_instrument"})
        return _json(200, {"bids": bids, "asks": bids[:1]})


def _json(status: int, content: dict) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")


@pytest.fixture
async def exchange():
    exchange = Exchange()
    await exchange.start()
    yield exchange
    await exchange.stop()


@pytest.fixture
def orders_file(tmp_path: Path):
    def write(lines: Iterable[dict]) -> Path:
        path = tmp_path / "orders.jsonl"
        path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        return path

    return write


def order(order_id: str, **fields: object) -> dict:
    return {"order_id": order_id, "type": "limit", **fields}


def orders(count: int) -> list[dict]:
    return [order(f"o{number}") for number in range(1, count + 1)]


@asynccontextmanager
async def replaying(exchange: Exchange, path: Path, *, skip: int = 0, **options):
    async with open_session(8) as session:
        lines = read_orders(path, skip=skip)
        options = {"connections": 8, "patience_s": 5.0} | options
        yield Replay(session, lines, url=exchange.url, skipped=skip, **options)
        lines.close()


async def replayed(exchange: Exchange, path: Path, **options) -> Replay:
    async with replaying(exchange, path, **options) as replay:
        await replay.run()
    return replay


# What is sent.


async def test_every_line_is_sent_once_byte_for_byte(exchange, orders_file):
    path = orders_file(orders(100))
    replay = await replayed(exchange, path)
    assert sorted(exchange.bodies) == sorted(path.read_bytes().splitlines())
    assert replay.stopped is None
    assert (replay.tally.lines_done, replay.done_through) == (100, 100)
    assert replay.tally.statuses == {201: 100}
    assert replay.tally.orders == {"open": 100}
    assert not replay.tally.notes


async def test_one_connection_keeps_the_order_of_the_file(exchange, orders_file):
    exchange.delays_s = {f"o{number}": 0.002 * (number % 3) for number in range(30)}
    await replayed(exchange, orders_file(orders(30)), connections=1)
    assert exchange.attempts == [f"o{number}" for number in range(1, 31)]


async def test_a_part_of_the_file(exchange, orders_file):
    replay = await replayed(exchange, orders_file(orders(5)), skip=3)
    assert sorted(exchange.orders) == ["o4", "o5"]
    assert replay.done_through == 5


async def test_outcomes_are_counted(exchange, orders_file):
    lines = [
        order("m", type="market"),
        order("a"),
        {"cancel": "a"},
        {"cancel": "a"},
        {"cancel": "nobody"},
        order("a", quantity=2),
        order("bad", price=0),
    ]
    replay = await replayed(exchange, orders_file(lines))
    tally = replay.tally
    assert tally.statuses == {201: 2, 200: 1, 409: 2, 404: 1, 400: 1}
    assert tally.orders == {"open": 2}
    assert tally.cancels == {"cancelled": 1, "already finished": 1, "unknown order": 1}
    assert tally.trades == 1
    assert tally.notes == {"repeated": 1}
    assert tally.complaints == ["line 7: answered 400: price must be above zero"]


async def test_a_second_run_of_the_same_file_is_all_repeats(exchange, orders_file):
    path = orders_file([*orders(10), order("m", type="market")])
    await replayed(exchange, path)
    replay = await replayed(exchange, path)
    assert replay.tally.statuses == {200: 11}
    assert replay.tally.notes == {"repeated": 11}
    assert replay.tally.trades == 0


# Lines about one order.


async def test_a_cancel_waits_for_the_answer_to_its_order(exchange, orders_file):
    exchange.delays_s = {"slow": 0.1}
    await replayed(exchange, orders_file([order("slow"), {"cancel": "slow"}, *orders(5)]))
    assert exchange.attempts[-1] == "cancel slow"
    assert exchange.orders["slow"]["status"] == "cancelled"


async def test_a_cancel_waits_while_its_order_is_sent_again(exchange, orders_file):
    exchange.misbehave = lambda name, attempt: "close" if name == "a" and attempt < 4 else None
    replay = await replayed(exchange, orders_file([order("a"), {"cancel": "a"}]))
    assert exchange.attempts == ["a"] * 4 + ["cancel a"]
    assert replay.tally.cancels == {"cancelled": 1}


async def test_all_lines_about_one_order_keep_their_order(exchange, orders_file):
    exchange.delays_s = {"a": 0.02, "cancel a": 0.01}
    lines = [order("a"), {"cancel": "a"}, order("a"), {"cancel": "a"}, order("a")]
    replay = await replayed(exchange, orders_file(lines))
    assert exchange.attempts == ["a", "cancel a", "a", "cancel a", "a"]
    assert replay.tally.cancels == {"cancelled": 1, "already finished": 1}


async def test_ids_are_quoted_in_the_address(exchange, orders_file):
    lines = [order("a/b?c %"), {"cancel": "a/b?c %", "instrument": "X&Y"}]
    replay = await replayed(exchange, orders_file(lines))
    assert exchange.paths == ["/orders/a%2Fb%3Fc%20%25/cancel?instrument=X%26Y"]
    assert replay.tally.cancels == {"cancelled": 1}


# What is sent again.


@pytest.mark.parametrize(
    ("behaviour", "final_status", "notes"),
    [
        ("refuse", 201, {"sent again": 2}),
        ("close", 201, {"sent again": 2, "unknown resolved": 1}),
        ("unknown", 201, {"sent again": 2, "unknown resolved": 1}),
        ("apply_close", 200, {"sent again": 2, "unknown resolved": 1}),
        ("apply_unknown", 200, {"sent again": 2, "unknown resolved": 1}),
    ],
)
async def test_trouble_is_outlasted(exchange, orders_file, behaviour, final_status, notes):
    exchange.misbehave = lambda name, attempt: behaviour if attempt < 3 else None
    path = orders_file([order("a", type="market")])
    replay = await replayed(exchange, path)
    assert exchange.attempts == ["a"] * 3
    assert replay.tally.statuses[final_status] == 1
    assert replay.tally.notes == notes
    # Each trade once, whichever answer told of it.
    assert replay.tally.trades == 1
    assert (replay.stopped, replay.done_through) == (None, 1)


@pytest.mark.parametrize("behaviour", ["apply_close", "apply_unknown"])
async def test_a_cancel_of_unknown_outcome_is_sent_again(exchange, orders_file, behaviour):
    exchange.misbehave = lambda name, attempt: (
        behaviour if name == "cancel a" and attempt == 1 else None
    )
    replay = await replayed(exchange, orders_file([order("a"), {"cancel": "a"}]))
    assert exchange.attempts == ["a", "cancel a", "cancel a"]
    assert replay.tally.cancels == {"already finished": 1}
    assert replay.tally.notes == {"sent again": 1, "unknown resolved": 1}


async def test_retry_after_is_respected(exchange, orders_file):
    exchange.misbehave = lambda name, attempt: "limit" if attempt == 1 else None
    replay = await replayed(exchange, orders_file(orders(1)))
    assert replay.tally.statuses == {429: 1, 201: 1}
    assert replay.tally.elapsed_s >= 1


@pytest.mark.parametrize("behaviour", ["apply_close", "apply_unknown"])
async def test_an_order_without_ids_is_not_sent_again_when_it_may_be_applied(
    exchange, orders_file, behaviour
):
    exchange.misbehave = lambda name, attempt: behaviour
    replay = await replayed(exchange, orders_file([{"side": "buy"}]))
    assert len(exchange.attempts) == 1
    assert replay.tally.notes == {"unknown, and nothing to recognize a repeat by": 1}
    assert (replay.stopped, replay.done_through) == (None, 1)


async def test_an_order_without_ids_is_sent_again_when_it_was_not_applied(exchange, orders_file):
    exchange.misbehave = lambda name, attempt: "refuse" if len(exchange.attempts) < 3 else None
    replay = await replayed(exchange, orders_file([{"side": "buy"}]))
    assert len(exchange.orders) == 1
    assert replay.tally.notes == {"sent again": 2}


async def test_an_idempotency_key_makes_an_order_repeatable(exchange, orders_file):
    exchange.misbehave = lambda name, attempt: "close" if attempt == 1 else None
    replay = await replayed(exchange, orders_file([{"idempotency_key": "k"}]))
    assert replay.tally.notes == {"sent again": 1, "unknown resolved": 1}


async def test_an_exchange_that_restarts(exchange, orders_file):
    port = exchange.port
    exchange.delays_s = {f"o{number}": 0.005 for number in range(1, 401)}
    async with replaying(exchange, orders_file(orders(400)), connections=4) as replay:
        running = asyncio.create_task(replay.run())
        await asyncio.sleep(0.1)
        await exchange.stop()
        await asyncio.sleep(0.2)
        assert not running.done()
        await exchange.start(port)
        await running
    assert replay.stopped is None
    assert len(exchange.orders) == 400
    assert replay.tally.notes["sent again"] > 0
    assert replay.tally.orders == {"open": 400}


async def test_many_kinds_of_trouble_lose_and_double_nothing(exchange, orders_file):
    troubles = ["refuse", "close", "apply_close", "unknown", "apply_unknown"]
    exchange.misbehave = lambda name, attempt: (
        troubles[(len(name) + len(exchange.attempts)) % 5]
        if attempt < 3 and len(exchange.attempts) % 3
        else None
    )
    lines = [line for one in orders(60) for line in (one, {"cancel": one["order_id"]})]
    replay = await replayed(exchange, orders_file(lines))
    assert (replay.stopped, replay.done_through) == (None, 120)
    assert len(exchange.orders) == 60
    assert all(placed["status"] == "cancelled" for placed in exchange.orders.values())
    assert replay.tally.cancels.total() == replay.tally.orders.total() == 60


# Stopping and resuming.


async def test_a_stop_names_the_line_to_resume_with(exchange, orders_file):
    path = orders_file(orders(50))
    exchange.misbehave = lambda name, attempt: "refuse" if name in ("o10", "o30") else None
    replay = await replayed(exchange, path, patience_s=0.3)
    assert replay.stopped == "line 10: answered 503, for 0.3 s"
    assert replay.done_through == 9
    # The other connections went on in the meantime.
    assert replay.tally.lines_done == 48
    assert "Resume with --skip 9" in resume_advice(replay, 0, None)
    assert "Resume with --skip 9 --limit 91" in resume_advice(replay, 0, 100)
    assert "Beware" not in resume_advice(replay, 0, None)

    exchange.misbehave = lambda name, attempt: None
    resumed = await replayed(exchange, path, skip=replay.done_through)
    assert resumed.done_through == 50
    assert len(exchange.orders) == 50
    assert resumed.tally.notes == {"repeated": 39}


async def test_nobody_there(exchange, orders_file):
    await exchange.stop()
    replay = await replayed(exchange, orders_file(orders(3)), patience_s=0.1)
    assert replay.stopped.startswith("line 1: cannot connect")
    assert (replay.done_through, replay.tally.lines_done) == (0, 0)


async def test_a_resume_that_would_place_an_order_twice_is_told(exchange, orders_file):
    path = orders_file([order("a"), {"side": "buy"}])
    exchange.misbehave = lambda name, attempt: "refuse" if name == "a" else None
    replay = await replayed(exchange, path, patience_s=0.2)
    assert replay.done_through == 0
    assert "Beware: up to line 2" in resume_advice(replay, 0, None)


async def test_an_interrupt_waits_for_the_answers_under_way(exchange, orders_file):
    exchange.delays_s = {"o1": 0.2}
    async with replaying(exchange, orders_file(orders(3)), connections=1) as replay:
        running = asyncio.create_task(replay.run())
        await asyncio.sleep(0.05)
        replay.interrupt()
        await running
    assert (replay.stopped, replay.done_through) == ("interrupted", 1)
    assert sorted(exchange.orders) == ["o1"]


async def test_a_second_interrupt_does_not_wait(exchange, orders_file):
    exchange.misbehave = lambda name, attempt: "hang"
    lines = [order("a"), {"cancel": "a"}, order("a"), {"side": "buy"}]
    async with replaying(exchange, orders_file(lines)) as replay:
        running = asyncio.create_task(replay.run())
        await asyncio.sleep(0.1)
        replay.interrupt()
        replay.interrupt()
        await asyncio.wait_for(running, 1)
    assert (replay.stopped, replay.done_through) == ("interrupted", 0)
    assert replay.tally.notes == {"unknown, and nothing to recognize a repeat by": 1}


async def test_no_answer_in_time_is_an_unknown_outcome(exchange, orders_file, monkeypatch):
    monkeypatch.setattr(replay_module, "ATTEMPT_TIMEOUT_S", 0.2)
    exchange.misbehave = lambda name, attempt: "hang" if attempt == 1 else None
    replay = await replayed(exchange, orders_file(orders(1)))
    assert replay.tally.notes == {"sent again": 1, "unknown resolved": 1}


# Lines that are not sent.


async def test_malformed_lines_are_told_and_passed_over(exchange, tmp_path):
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b'{"order_id":"a"}\n{nonsense\n{"order_id":"b"}\n')
    replay = await replayed(exchange, path)
    assert replay.tally.unsent == {"malformed": 1}
    assert replay.tally.complaints[0].startswith("line 2: not JSON")
    assert (replay.tally.lines_done, replay.done_through) == (3, 3)


async def test_strict_stops_before_a_malformed_line(exchange, tmp_path):
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b'{"order_id":"a"}\n{nonsense\n{"order_id":"b"}\n')
    replay = await replayed(exchange, path, strict=True)
    assert replay.stopped.startswith("line 2: not JSON")
    assert replay.done_through == 1
    assert sorted(exchange.orders) == ["a"]


async def test_a_lobster_file(exchange, tmp_path):
    path = tmp_path / "message.csv"
    path.write_bytes(
        b"1.0,1,5,9,10000,1\n1.1,2,5,1,10000,1\n1.2,4,5,1,10000,1\n1.3,3,5,7,10000,1\n"
    )
    replay = await replayed(exchange, path)
    assert sorted(exchange.orders) == ["lobster-5", "lobster-5-3"]
    assert replay.tally.unsent == {"LOBSTER 2, partial cancellation": 1}
    assert replay.tally.cancels == {"cancelled": 1}


# The file of acks.


async def test_acks_hold_every_acknowledged_answer(exchange, orders_file, tmp_path):
    path = orders_file([*orders(250), {"cancel": "o1"}, {"cancel": "o1"}, order("x", price=0)])
    with (tmp_path / "acks").open("ab") as file:
        await replayed(exchange, path, acks=Acks(file))
        flushed = (tmp_path / "acks").read_bytes()
    assert flushed.count(b"\n") >= 200
    acks = [orjson.loads(line) for line in (tmp_path / "acks").read_bytes().splitlines()]
    assert len(acks) == 251
    assert {ack["order"]["order_id"] for ack in acks} == {f"o{n}" for n in range(1, 251)}
    assert sum(ack["order"]["status"] == "cancelled" for ack in acks) == 1
    assert all("orderbook" not in ack for ack in acks)


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (b'{"order":{"price":0.10000000000000000001}}', None),
        (b'{"order":{},"trades":[],"orderbook":{"bids":[]}}', b'{"order":{},"trades":[]}'),
        (b'{"order":{},"orderbook":{"bids":[]},"trades":[]}', None),
        (b'{"order":{"x":",\\"orderbook\\":"}}', None),
        (b'{"order":\n{"x":"\\n"}}', b'{"order": {"x":"\\n"}}'),
    ],
)
def test_an_ack_is_the_answer_itself(tmp_path, body, written):
    with (tmp_path / "acks").open("ab") as file:
        Acks(file).write(replay_module.Answer(201, body, orjson.loads(body)))
    assert (tmp_path / "acks").read_bytes() == (written or body) + b"\n"


# What is shown.


async def test_the_summary_and_the_order_books(exchange, orders_file):
    lines = [*orders(3), order("e", instrument="ETH-USD"), {"cancel": "o1"}]
    replay = await replayed(exchange, orders_file(lines))
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(summary(replay.tally))
    async with open_session(1) as session:
        for instrument in replay.instruments:
            console.print(await order_book_table(session, exchange.url, instrument))
        await exchange.stop()
        console.print(await order_book_table(session, exchange.url, "BTC-USD"))
    shown = console.export_text()
    for text in ("HTTP 201", "latency p99", "orders open", "cancels: cancelled", "70150.5"):
        assert text in shown
    assert shown.count("not available") == 2


def test_percentiles_are_of_the_nearest_rank():
    tally = replay_module.Tally()
    tally.latencies_us.extend(range(1, 101))
    assert replay_module._percentiles(tally.latencies_us) == [
        ("p50", 50),
        ("p99", 99),
        ("max", 100),
    ]


@pytest.mark.parametrize("terminal", [True, False])
async def test_progress(monkeypatch, tmp_path, terminal):
    monkeypatch.setattr(replay_module, "LOG_S", 0.01)
    monkeypatch.setattr(replay_module, "REDRAW_S", 0.01)
    tally = replay_module.Tally(lines_done=30)
    with (tmp_path / "shown").open("w") as file:
        console = Console(file=file, force_terminal=terminal, width=100)
        showing = asyncio.create_task(show_progress(tally, 120, console))
        await asyncio.sleep(0.1)
        showing.cancel()
        await asyncio.wait({showing})
    shown = (tmp_path / "shown").read_text()
    assert "30/120" in shown
    assert "/s" in shown


# The command.


def arguments(*values: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl: No such file"),
        (("f", "--url", "127.0.0.1:3000"), "--url"),
        (("f", "--connections", "0"), "--connections"),
        (("f", "--skip", "-1"), "--skip"),
    ],
)
def test_bad_arguments_are_refused(values, message):
    with pytest.raises(OpsError, match=message):
        main(arguments(*values))


def test_the_url_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("EXCHANGE_URL", "http://example.test")
    assert arguments("f").url == "http://example.test"
    monkeypatch.delenv("EXCHANGE_URL")
    assert arguments("f").url == "http://127.0.0.1:3000"


PROGRAM = """
import argparse, sys
from ops.replay import add_arguments, main
parser = argparse.ArgumentParser()
add_arguments(parser)
sys.exit(main(parser.parse_args()))
"""


async def run_program(*values: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *values, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


async def test_the_whole_command(exchange, orders_file, tmp_path):
    path = orders_file(orders(20))
    acks = tmp_path / "acks"
    program = await run_program(
        str(path), "--url", exchange.url + "/", "--limit", "15", "--acks", str(acks)
    )
    stdout, stderr = await program.communicate()
    assert program.returncode == 0, stderr
    assert b"lines done" in stdout
    assert b"70150.5" in stdout
    assert acks.read_bytes().count(b"\n") == 15


async def test_sigint_ends_with_the_summary_and_the_acks(exchange, orders_file, tmp_path):
    path, acks = orders_file(orders(5_000)), tmp_path / "acks"
    exchange.delays_s = {f"o{number}": 0.02 for number in range(1, 5_001)}
    program = await run_program(
        str(path), "--url", exchange.url, "--connections", "4", "--acks", str(acks)
    )
    await exchange.placed(50)
    program.send_signal(signal.SIGINT)
    stdout, stderr = await program.communicate()
    assert program.returncode == 1, stderr
    done = len(exchange.orders)
    assert done < 5_000
    assert b"Stopped: interrupted" in stdout
    assert b"--skip %d" % done in stdout
    assert acks.read_bytes().count(b"\n") == done
