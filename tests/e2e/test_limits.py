"""Rate limits and overload: told clearly, quickly, and cancels still pass."""

import asyncio
import signal
import time
from pathlib import Path

import aiohttp
import redis

from tests.exchange import Exchange, eventually, running

QUICKLY_S = 1.0


def test_clients_and_addresses_have_limits(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    hour = {"RATE_LIMIT_WINDOW_MS": "3600000", "RATE_LIMIT_MAX_REQUESTS": "20"}
    with (
        running(database_url, redis_url, tmp_path, EXCHANGE_PROXIES_COUNT="1", **hour) as exchange,
        exchange.client() as client,
    ):

        def order(address: str, client_id: str) -> tuple[int, str]:
            answer = client.post(
                "/orders",
                {"client_id": client_id, "side": "buy", "type": "limit", "price": 1, "quantity": 1},
                {"X-Forwarded-For": address},
            )
            assert answer.headers["ratelimit-limit"] == "20"
            if answer.status == 429:
                assert answer.json["error"] == "rate_limited"
                # One of twenty is back after a twentieth of the hour.
                assert 170 <= int(answer.headers["retry-after"]) <= 180
            else:
                assert answer.status == 201
            return answer.status, answer.headers["ratelimit-remaining"]

        # One client from many addresses.
        assert [order(f"10.0.0.{n}", "a") for n in range(20)] == [
            (201, str(left)) for left in reversed(range(20))
        ]
        assert order("10.0.1.1", "a") == (429, "0")
        # What was refused has taken nothing from the address.
        assert order("10.0.1.1", "b") == (201, "19")
        # Many clients from one address; reading counts for the address.
        assert (
            client.request("GET", "/instruments", None, {"X-Forwarded-For": "10.0.2.2"}).headers[
                "ratelimit-remaining"
            ]
            == "19"
        )
        assert [order("10.0.2.2", f"c-{n}")[1] for n in range(19)] == [
            str(left) for left in reversed(range(19))
        ]
        refused = client.request("GET", "/market/trades", None, {"X-Forwarded-For": "10.0.2.2"})
        assert (refused.status, refused.json["error"]) == (429, "rate_limited")
        # Bad requests count, too.
        assert (
            client.request("POST", "/orders", b"{", {"X-Forwarded-For": "10.0.3.3"}).headers[
                "ratelimit-remaining"
            ]
            == "19"
        )
        # So does what does not exist.
        nowhere = client.request("GET", "/nowhere", None, {"X-Forwarded-For": "10.0.3.3"})
        assert (nowhere.status, nowhere.headers["ratelimit-remaining"]) == (404, "18")
        refused = client.request("POST", "/nowhere", {}, {"X-Forwarded-For": "10.0.2.2"})
        assert (refused.status, refused.json["error"]) == (429, "rate_limited")
        # Those who watch over the process are never refused.
        for _ in range(30):
            assert client.get("/livez").status == 200
            assert client.get("/readyz").status == 200
            assert client.get("/metrics").status == 200


def test_forwarded_addresses_are_believed_only_when_told_to(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    few = {"RATE_LIMIT_WINDOW_MS": "3600000", "RATE_LIMIT_MAX_REQUESTS": "3"}
    with running(database_url, redis_url, tmp_path, **few) as exchange, exchange.client() as client:
        statuses = [
            client.request("GET", "/instruments", None, {"X-Forwarded-For": f"10.0.0.{n}"}).status
            for n in range(5)
        ]
    assert statuses == [200, 200, 200, 429, 429]


def test_a_batch_counts_for_every_order_and_each_client(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    few = {"RATE_LIMIT_WINDOW_MS": "3600000", "RATE_LIMIT_MAX_REQUESTS": "6"}
    with running(database_url, redis_url, tmp_path, **few) as exchange, exchange.client() as client:
        body = {"side": "buy", "type": "limit", "price": 1, "quantity": 1}
        batch = [body | {"client_id": name} for name in ("a", "b", "a", "b", "a")]
        answer = client.post("/orders/batch", {"orders": [*batch, {}]})
        statuses = [result["status"] for result in answer.json["results"]]
        assert statuses == [201, 201, 201, 201, 201, 400]
        answer = client.post("/orders/batch", {"orders": batch})
        assert {result["status"] for result in answer.json["results"]} == {429}
        assert {result["error"] for result in answer.json["results"]} == {"rate_limited"}


async def test_messages_of_a_websocket_count(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    few = {"RATE_LIMIT_WINDOW_MS": "3600000", "RATE_LIMIT_MAX_REQUESTS": "11"}
    with running(database_url, redis_url, tmp_path, **few) as exchange:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{exchange.port}/stream") as ws,
        ):
            assert (await ws.receive_json())["type"] == "connected"  # the eleventh
            for number in range(15):
                await ws.send_json(
                    {"type": "limit", "client_id": "a", "side": "buy", "price": 1, "quantity": 1,
                     "request_id": number}
                )  # fmt: skip
            answers = [await ws.receive_json() for _ in range(15)]
    accepted = {a["request_id"] for a in answers if a["type"] == "order_accepted"}
    refused = {a["request_id"] for a in answers if a.get("error") == "rate_limited"}
    assert (accepted, refused) == (set(range(10)), set(range(10, 15)))


async def test_one_client_too_many_does_not_cost_the_others(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """One round of messages of two clients: what one asks too much, the other does not pay for."""
    few = {"RATE_LIMIT_WINDOW_MS": "3600000", "RATE_LIMIT_MAX_REQUESTS": "20"}
    with running(database_url, redis_url, tmp_path, **few) as exchange:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{exchange.port}/stream") as ws,
        ):
            await ws.receive_json()
            order = {"type": "limit", "side": "buy", "price": 1, "quantity": 1}
            for client_id in ["a"] * 10 + ["b"] * 15:
                await ws.send_json(order | {"client_id": client_id})
            answers = [await ws.receive_json() for _ in range(25)]
    # The address had 19 left after connecting.
    assert sum(answer["type"] == "order_accepted" for answer in answers) == 19


async def test_a_stream_that_is_full_refuses_orders_quickly_and_takes_cancels(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    env = {"EXCHANGE_STREAM_WAITING_MAX": "50", "EXCHANGE_SUBMIT_TIMEOUT_MS": "20000"}
    with running(database_url, redis_url, tmp_path, **env) as exchange:
        with exchange.client() as client:
            assert client.order("buy", 1, 10, order_id="rests").status == 201
        matcher = exchange.processes[0]
        matcher.send_signal(signal.SIGSTOP)
        await check_overload(exchange, redis_url, 49)
        assert await exchange_metric(exchange, 'overload_refusals_total{cause="lag"}') > 0


async def test_too_many_in_flight_are_refused_quickly_and_cancels_pass(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    env = {"EXCHANGE_IN_FLIGHT_MAX": "40", "EXCHANGE_SUBMIT_TIMEOUT_MS": "20000"}
    with running(database_url, redis_url, tmp_path, **env) as exchange:
        with exchange.client() as client:
            assert client.order("buy", 1, 10, order_id="rests").status == 201
        matcher = exchange.processes[0]
        matcher.send_signal(signal.SIGSTOP)
        await check_overload(exchange, redis_url, 40)
        assert await exchange_metric(exchange, 'overload_refusals_total{cause="in_flight"}') > 0


async def check_overload(exchange: Exchange, redis_url: str, least: int) -> None:
    """With the matcher paused: orders pile up, then are refused at once; a cancel still gets in."""
    url = f"http://127.0.0.1:{exchange.port}"
    body = {"client_id": "a", "side": "buy", "type": "limit", "price": 1, "quantity": 1}

    async def post(path: str, body: object = None) -> tuple[int, str | None, float]:
        began = time.monotonic()
        async with session.post(f"{url}{path}", json=body) as answer:
            said = (await answer.json()).get("error")
            return answer.status, said, time.monotonic() - began

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        waiting = [asyncio.create_task(post("/orders", body)) for _ in range(100)]
        while not any(task.done() for task in waiting):
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        with redis.from_url(redis_url) as server:
            await asyncio.to_thread(
                eventually, lambda: server.xlen("orders:{BTC-USD}") >= least, "the stream fills"
            )
        await asyncio.sleep(0)
        refused = await post("/orders", body)
        assert refused[:2] == (503, "overloaded")
        assert refused[2] < QUICKLY_S
        cancel = asyncio.create_task(post("/orders/rests/cancel?instrument=BTC-USD"))
        done, _ = await asyncio.wait([cancel], timeout=0.3)
        assert not done  # it waits with the orders: it was not refused
        exchange.processes[0].send_signal(signal.SIGCONT)
        assert (await cancel)[0] == 200
        statuses = [(await task)[0] for task in waiting]
        assert set(statuses) == {201, 503}
        assert statuses.count(201) >= least - 1


async def exchange_metric(exchange: Exchange, sample: str) -> float:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{exchange.port}/metrics") as answer,
    ):
        lines = (await answer.text()).splitlines()
    return sum(float(line.split(" ")[1]) for line in lines if line.startswith(sample))
