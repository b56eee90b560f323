"""The WebSocket, with a client library that is not the server's: answers, channels, closings."""

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.exchange import Client, Exchange, running

PATIENCE_S = 10.0


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


class Stream:
    """One connection. `hear` waits for a message of a type and keeps the others for later."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self._kept: list[dict[str, Any]] = []

    async def say(self, message: dict[str, Any] | str, **more: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message | more)
        await self.ws.send_str(text)

    async def hear(self, type: str, **fields: Any) -> dict[str, Any]:
        wanted = {"type": type, **fields}.items()
        for message in self._kept:
            if wanted <= message.items():
                self._kept.remove(message)
                return message
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = json.loads(await self.ws.receive_str())
                if {k: v for k, v in message.items() if k in ("type", *fields)}.items() == wanted:
                    return message
                self._kept.append(message)

    async def closed(self) -> int | None:
        """Read on until the server closes; return its code."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.ws.closed:
                await self.ws.receive()
        return self.ws.close_code


@asynccontextmanager
async def connected(exchange: Exchange, query: str = "") -> AsyncIterator[Stream]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{exchange.port}/stream{query}", max_msg_size=0) as ws,
    ):
        stream = Stream(ws)
        await stream.hear("connected")
        yield stream


def order(side: str, price: Any, quantity: Any = 1, **fields: Any) -> dict[str, Any]:
    """Return a limit order, or a market order when there is no price."""
    terms = {"type": "market"} if price is None else {"type": "limit", "price": price}
    return {"client_id": "client-A", "side": side, "quantity": quantity, **terms, **fields}


async def test_an_order_is_answered_as_over_http(exchange: Exchange) -> None:
    async with connected(exchange) as stream:
        await stream.say(order("buy", 10, 2, order_id="maker", request_id="r-1"))
        accepted = await stream.hear("order_accepted", request_id="r-1")
        assert accepted["order"]["status"] == "open"
        assert accepted["trades"] == []
        assert accepted["orderbook"]["bids"] == [{"price": 10, "quantity": 2, "cumulative": 2}]
        await stream.say(order("sell", None, "0.5", client_id="client-B", request_id=2))
        accepted = await stream.hear("order_accepted", request_id=2)
        assert accepted["order"]["status"] == "filled"
        assert [trade["buy_order_id"] for trade in accepted["trades"]] == ["maker"]
        assert accepted["orderbook"]["bids"] == [{"price": 10, "quantity": 1.5, "cumulative": 1.5}]
        await stream.say({"type": "cancel", "order_id": "maker", "request_id": 3})
        cancelled = await stream.hear("order_cancelled", request_id=3)
        assert (cancelled["order"]["status"], cancelled["order"]["filled_quantity"]) == (
            "cancelled", 0.5,
        )  # fmt: skip
        await stream.say({"type": "cancel", "order_id": "maker"})
        assert (await stream.hear("error"))["error"] == "order_finished"


WAYS = [
    # The reference's own sample: `type` twice, and JSON keeps the last.
    '{"type":"order","client_id":"client-A","instrument":"BTC-USD","side":"buy",'
    '"type":"limit","price":70000,"quantity":1.0,"idempotency_key":"ws-order-1"}',
    '{"type":"limit","client_id":"a","side":"buy","price":"70000","quantity":1}',
    '{"type":"order","order_type":"limit","client_id":"a","side":"buy","price":7,"quantity":1}',
    '{"order_type":"limit","type":"limit","client_id":"a","side":"buy","price":7,"quantity":1}',
    '{"type":"limit","type":"order","client_id":"a","side":"buy","price":7,"quantity":1}',
]

BAD = [
        ("", "invalid_request"),
        ("{", "invalid_request"),
        ("[]", "invalid_request"),
        ("{}", "invalid_request"),
        ('{"type":"dance"}', "invalid_request"),
        ('{"type":7}', "invalid_request"),
        ('{"type":["order"]}', "invalid_request"),
        ('{"type":"order","side":"buy"}', "invalid_request"),
        ('{"type":"order","type":"order","side":"buy"}', "invalid_request"),
        ('{"type":"limit","order_type":"market","side":"buy"}', "invalid_request"),
        ('{"type":"limit","client_id":"a","side":"buy","price":1e400,"quantity":1}',
         "invalid_request"),
        ('{"type":"limit","client_id":"\\ud800","side":"buy","price":1,"quantity":1}',
         "invalid_request"),
        ('{"type":"limit","client_id":"a","side":"buy","price":1,"quantity":1,"instrument":"X-Y"}',
         "not_found"),
        ('{"type":"ping","request_id":{}}', "invalid_request"),
        ('{"type":"ping","request_id":1.5}', "invalid_request"),
        ('{"type":"ping","request_id":"' + "x" * 65 + '"}', "invalid_request"),
        ('{"type":"cancel"}', "invalid_request"),
        ('{"type":"cancel","order_id":7}', "invalid_request"),
        ('{"type":"cancel","order_id":"nobody"}', "not_found"),
        ('{"type":"cancel","order_id":"nobody","instrument":"X-Y"}', "not_found"),
        ('{"type":"subscribe"}', "invalid_request"),
        ('{"type":"subscribe","channels":[]}', "invalid_request"),
        ('{"type":"subscribe","channels":["trades","depth"]}', "invalid_request"),
        ('{"type":"subscribe","channels":[["trades"]]}', "invalid_request"),
        ('{"type":"subscribe","channels":{"trades":1}}', "invalid_request"),
        ('{"type":"subscribe","channel":"trades","instrument":"X-Y"}', "not_found"),
        ('{"type":"subscribe","channel":"trades","instrument":null}', "invalid_request"),
        ('{"type":"subscribe","channel":"trades","resume_from":-1}', "invalid_request"),
        ('{"type":"subscribe","channel":"trades","resume_from":"now"}', "invalid_request"),
        ('{"type":"subscribe","channel":"trades","depth":5}', "invalid_request"),
]  # fmt: skip


async def test_every_way_to_write_an_order(exchange: Exchange) -> None:
    async with connected(exchange) as stream:
        for text in WAYS:
            await stream.say(text)
            assert (await stream.hear("order_accepted"))["order"]["type"] == "limit", text


async def test_what_cannot_be_understood_is_told_so(exchange: Exchange) -> None:
    async with connected(exchange) as stream:
        for text, error in BAD:
            await stream.say(text)
            answer = await stream.hear("error")
            assert (answer["error"], bool(answer["message"])) == (error, True), text
            # Nothing else came of it, and the connection goes on.
            await stream.say({"type": "ping", "request_id": "last"})
            assert await stream.hear("pong", request_id="last")
            assert stream._kept == [], text


async def test_bytes_that_are_no_text_and_messages_that_are_too_long(exchange: Exchange) -> None:
    async with connected(exchange) as stream:
        await stream.ws.send_bytes(b"\xff\xfe")
        assert (await stream.hear("error"))["error"] == "invalid_request"
        await stream.ws.send_str('{"type":"ping","request_id":"' + "x" * 65_536 + '"}')
        assert await stream.closed() == 1009


async def test_pipelined_orders_enter_the_book_in_the_order_sent(exchange: Exchange) -> None:
    """500 in one go: alternating sides at one price, so only the order sent decides who trades."""
    async with connected(exchange) as stream:
        for number in range(500):
            side = "buy" if number % 4 < 2 else "sell"
            await stream.say(order(side, 10, order_id=f"n-{number}", request_id=number))
        answers = [await stream.hear("order_accepted", request_id=n) for n in range(500)]
    assert [answer["order"]["order_no"] for answer in answers] == list(range(1, 501))
    for number, answer in enumerate(answers):
        makers = [trade["buy_order_id"] for trade in answer["trades"]]
        assert makers == ([f"n-{number - 2}"] if number % 4 >= 2 else [])


async def test_a_cancel_keeps_its_place_among_the_orders(exchange: Exchange) -> None:
    """Cancels name no instrument, so it has to be looked up, and nothing may overtake them."""
    async with connected(exchange) as stream:
        for number in range(100):
            # The quote is taken away before the order that would trade with it.
            await stream.say(order("sell", 10, order_id=f"quote-{number}"))
            await stream.say(
                {"type": "cancel", "order_id": f"quote-{number}", "request_id": number}
            )
            await stream.say(order("buy", 10, order_id=f"bid-{number}", instrument="BTC-USD"))
            await stream.say({"type": "cancel", "order_id": f"bid-{number}"})
        for number in range(100):
            cancelled = await stream.hear("order_cancelled", request_id=number)
            assert cancelled["order"]["filled_quantity"] == 0
    with exchange.client() as client:
        assert client.get("/market/trades").json["count"] == 0


async def test_repeats_are_answered_with_the_first_result(exchange: Exchange) -> None:
    async with connected(exchange) as stream:
        for request_id in range(3):
            await stream.say(order("buy", 10, idempotency_key="k"), request_id=request_id)
        answers = [await stream.hear("order_accepted", request_id=n) for n in range(3)]
        assert len({answer["order"]["order_id"] for answer in answers}) == 1
        assert [answer.get("idempotent_replayed") for answer in answers] == [None, True, True]
        await stream.say(order("buy", 11, idempotency_key="k"))
        assert (await stream.hear("error"))["error"] == "idempotency_conflict"


async def test_channels(exchange: Exchange) -> None:
    async with connected(exchange) as stream, connected(exchange) as other:
        await stream.say({"type": "subscribe", "channels": ["trades", "orders", "orderbook"]})
        assert (await stream.hear("subscribed"))["channels"] == ["trades", "orders", "orderbook"]
        snapshot = (await stream.hear("orderbook"))["data"]
        assert snapshot == {"snapshot": True, "sequence": 0, "bids": [], "asks": []}
        await other.say({"type": "subscribe", "channel": "trades", "instrument": "ETH-USD"})
        assert (await other.hear("subscribed"))["instrument"] == "ETH-USD"

        await other.say(order("buy", 10, 2, order_id="maker"))
        delta = (await stream.hear("orderbook"))["data"]
        assert delta == {
            "snapshot": False, "prev_sequence": 0, "sequence": 1,
            "bids": [{"price": 10, "quantity": 2}], "asks": [],
        }  # fmt: skip
        opened = await stream.hear("orders", channel="orders:BTC-USD")
        assert (opened["data"]["order_id"], opened["data"]["sequence"]) == ("maker", 1)

        await other.say(order("sell", None, 2, order_id="taker", client_id="client-B"))
        traded = await stream.hear("trades", channel="trades:BTC-USD")
        assert traded["data"]["trade_id"] == "BTC-USD-1"
        assert (traded["data"]["sequence"], traded["data"]["taker_side"]) == (3, "sell")
        changed = [(await stream.hear("orders"))["data"] for _ in range(2)]
        assert {(o["order_id"], o["status"], o["sequence"]) for o in changed} == {
            ("maker", "filled", 3), ("taker", "filled", 3),
        }  # fmt: skip
        assert (await stream.hear("orderbook"))["data"]["bids"] == [{"price": 10, "quantity": 0}]

        await stream.say({"type": "unsubscribe", "channels": ["orders", "orderbook"]})
        assert (await stream.hear("unsubscribed"))["channels"] == ["orders", "orderbook"]
        await other.say(order("buy", 10, order_id="unseen"))
        await other.say(order("sell", 10, order_id="seen"))
        assert (await stream.hear("trades"))["data"]["sell_order_id"] == "seen"
        await stream.say({"type": "ping"})
        await stream.hear("pong")
        assert stream._kept == []
        await other.say({"type": "ping"})
        await other.hear("pong")
        # The other one heard its own answers and nothing of BTC-USD.
        assert {message["type"] for message in other._kept} == {"order_accepted"}


async def test_many_subscriptions_of_one_connection(exchange: Exchange) -> None:
    names = ("BTC-USD", "ETH-USD", "SOL-USD")
    async with connected(exchange) as stream:
        for name in names:
            await stream.say(
                {"type": "subscribe", "channels": ["trades", "orders", "orderbook"]},
                instrument=name,
            )
            await stream.hear("subscribed", instrument=name)
            await stream.hear("orderbook", channel=f"orderbook:{name}")
        for price, name in enumerate(names, 10):
            await stream.say(order("buy", price, instrument=name))
            await stream.say(order("sell", None, instrument=name))
        for price, name in enumerate(names, 10):
            trade = await stream.hear("trades", channel=f"trades:{name}")
            assert (trade["data"]["instrument"], trade["data"]["price"]) == (name, price)
            assert (await stream.hear("orders", channel=f"orders:{name}"))["data"]["sequence"] > 0
            await stream.hear("orderbook", channel=f"orderbook:{name}")


async def test_resume_from_a_sequence(exchange: Exchange) -> None:
    with exchange.client() as client:
        for number in range(20):
            assert client.order("buy", 1, 10, order_id=f"bid-{number}").status == 201
            assert client.order("sell", 1, client_id="client-B").status == 201
    # Sequences 1 to 60: each pair is accepted, accepted, traded.
    async with connected(exchange) as stream:
        await stream.say({"type": "subscribe", "channel": "trades", "resume_from": 45})
        await stream.hear("subscribed")
        trades = [(await stream.hear("trades"))["data"]["sequence"] for _ in range(5)]
        assert trades == [48, 51, 54, 57, 60]
        await stream.say({"type": "subscribe", "channel": "orders", "resume_from": 57})
        orders = [(await stream.hear("orders"))["data"] for _ in range(3)]
        assert [(o["order_no"], o["status"], o["sequence"]) for o in orders] == [
            (39, "open", 58), (39, "filled", 60), (40, "filled", 60),
        ]  # fmt: skip
        # What is still to come can only be another database's: a fresh start.
        await stream.say({"type": "subscribe", "channel": "trades", "resume_from": 1_000})
        resync = await stream.hear("resync", channel="trades:BTC-USD")
        assert resync["data"]["sequence"] == 60
        assert [t["sequence"] for t in resync["data"]["trades"]] == list(range(60, 0, -3))
        await stream.say(order("buy", 7, order_id="rests"))
        await stream.hear("orders")
        await stream.say({"type": "subscribe", "channel": "orders", "resume_from": 1_000})
        resync = await stream.hear("resync", channel="orders:BTC-USD")
        assert [o["order_id"] for o in resync["data"]["orders"]] == ["rests"]
        assert resync["data"]["complete"] is True
        # And the live frames go on.
        await stream.say(order("sell", 7, order_id="takes"))
        assert (await stream.hear("trades"))["data"]["sequence"] == 63
        assert {(await stream.hear("orders"))["data"]["order_id"] for _ in range(2)} == {
            "rests", "takes",
        }  # fmt: skip


async def test_resume_after_the_web_process_was_killed(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running(database_url, redis_url, tmp_path) as exchange:
        web = exchange.processes[1]
        with exchange.client() as client:
            client.order("buy", 3, 10)
            client.order("sell", 1)
        async with connected(exchange) as stream:
            await stream.say({"type": "subscribe", "channel": "trades", "resume_from": 0})
            seen = (await stream.hear("trades"))["data"]["sequence"]
            web.kill()
            web.wait()
        other = Exchange(database_url, redis_url, tmp_path)
        try:
            other.web()
            other.wait_ready()
            with other.client() as client:
                client.order("sell", 1)
            exchange.env["PORT"] = str(exchange.port)
            exchange.web()
            exchange.wait_ready()
            async with connected(exchange) as stream:
                await stream.say({"type": "subscribe", "channel": "trades", "resume_from": seen})
                await stream.hear("subscribed")
                assert (await stream.hear("trades"))["data"]["trade_no"] == 2
        finally:
            other.stop()


async def test_sigterm_answers_everybody_and_then_says_good_bye(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The matcher is paused, so that orders are under way when the signal comes."""
    with running(database_url, redis_url, tmp_path) as exchange:
        matcher, web = exchange.processes
        idle = Client(exchange.port)
        assert idle.get("/readyz").status == 200
        matcher.send_signal(signal.SIGSTOP)
        async with connected(exchange) as stream:
            for number in range(50):
                await stream.say(order("buy", 10, request_id=number))
            async with aiohttp.ClientSession() as session:
                over_http = [
                    asyncio.create_task(
                        session.post(
                            f"http://127.0.0.1:{exchange.port}/orders",
                            json=order("buy", 10, order_id=f"http-{n}"),
                        )
                    )
                    for n in range(20)
                ]
                await waiting_in_the_stream(redis_url, 70)
                web.send_signal(signal.SIGTERM)
                # Not ready is said first, while the process still answers.
                for _ in itertools.count():
                    answer = idle.get("/readyz")
                    if answer.status == 503:
                        break
                    await asyncio.sleep(0.01)
                assert "stopping" in answer.json["missing"][0]
                refused = idle.order("buy", 1, 10)
                assert (refused.status, refused.headers["retry-after"]) == (503, "1")
                matcher.send_signal(signal.SIGCONT)
                statuses = [(await answer).status for answer in over_http]
                assert statuses == [201] * 20
                for number in range(50):
                    await stream.hear("order_accepted", request_id=number)
            assert await stream.closed() in (1001, 1012)
        idle.connection.close()
        assert await asyncio.to_thread(web.wait, 15) == 0


async def waiting_in_the_stream(redis_url: str, count: int) -> None:
    import redis.asyncio

    async with redis.asyncio.from_url(redis_url) as client, asyncio.timeout(PATIENCE_S):
        while await client.xlen("orders:{BTC-USD}") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
