"""One key, one order: over processes, in flight, and after Redis has lost everything."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from tests.exchange import Answer, Client, Exchange, eventually


@pytest.fixture
def webs(database_url: str, redis_url: str, tmp_path: Path) -> Any:
    """Two web processes on ports of their own, and one matcher."""
    first = Exchange(database_url, redis_url, tmp_path)
    second = Exchange(database_url, redis_url, tmp_path)
    try:
        first.start()
        second.web()
        second.wait_ready()
        yield first, second
    finally:
        second.stop()
        first.stop()


BODY = {"client_id": "a", "side": "buy", "type": "limit", "price": 10, "quantity": 1}


async def both(webs: tuple[Exchange, ...], *bodies: dict[str, Any]) -> list[tuple[int, Any]]:
    """Send each body to each web process, all at the same instant."""

    async def send(session: aiohttp.ClientSession, port: int, body: dict[str, Any]) -> Any:
        async with session.post(f"http://127.0.0.1:{port}/orders", json=body) as answer:
            return answer.status, await answer.json()

    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(
            *(send(session, web.port, body) for body in bodies for web in webs)
        )


async def test_the_same_instant_on_two_processes(webs: tuple[Exchange, ...]) -> None:
    for number in range(40):
        answers = await both(webs, BODY | {"idempotency_key": f"k-{number}"})
        assert sorted(status for status, _ in answers) == [200, 201]
        assert len({body["order"]["order_id"] for _, body in answers}) == 1
    with webs[0].client() as client:
        assert len(client.get("/orders?client_id=a&limit=1000").json["orders"]) == 40


async def test_the_same_instant_with_another_body(webs: tuple[Exchange, ...]) -> None:
    for number in range(20):
        key = {"idempotency_key": f"k-{number}"}
        answers = await both(webs, BODY | key, BODY | key | {"quantity": 2})
        statuses = sorted(status for status, _ in answers)
        assert statuses == [200, 201, 409, 409]
        assert {body["error"] for status, body in answers if status == 409} == {
            "idempotency_conflict"
        }


async def test_repeats_while_the_first_is_in_flight(
    webs: tuple[Exchange, ...], redis_url: str
) -> None:
    matcher = webs[0].processes[0]
    matcher.send_signal(signal.SIGSTOP)
    asking = asyncio.create_task(
        both(webs, *[BODY | {"idempotency_key": "k"}] * 5, BODY | {"idempotency_key": "other"})
    )
    with redis.from_url(redis_url) as server:
        # Both keys' first orders, and the repeats, which wait behind them.
        await asyncio.to_thread(
            eventually, lambda: server.xlen("orders:{BTC-USD}") >= 12, "all are in the stream"
        )
    matcher.send_signal(signal.SIGCONT)
    answers = await asking
    assert sorted(status for status, _ in answers) == [200] * 10 + [201] * 2
    assert len({body["order"]["order_id"] for _, body in answers}) == 2


@pytest.mark.parametrize("loss", ["nothing", "the keys", "everything", "a hint that lies"])
def test_repeats_later(webs: tuple[Exchange, ...], redis_url: str, loss: str) -> None:
    first, second = webs
    with first.client() as client:
        placed = client.order("buy", 1, 10, idempotency_key="k")
        assert (placed.status, placed.headers.get("idempotent-replayed")) == (201, None)
        maker = placed.json["order"]["order_id"]
        # The first result is the order's; what happened to it since does not make it another.
        assert client.order("sell", 1, 10, client_id="b").status == 201
    with redis.from_url(redis_url) as server:
        if loss == "the keys":
            for key in server.scan_iter("first:*"):
                server.delete(key)
        elif loss == "everything":
            server.flushall()
            eventually(lambda: first.ready() and second.ready(), "trading again")
        elif loss == "a hint that lies":
            server.set("first:{BTC-USD}/client-A/k", "nobody", px=60_000)
    for web in (second, first):
        with web.client() as client:
            repeat = answered(client, web)
            assert (repeat.status, repeat.headers["idempotent-replayed"]) == (200, "true")
            assert repeat.json["order"]["order_id"] == maker
            assert repeat.json["trades"] == []
            other = client.order("buy", 1, 11, idempotency_key="k")
            assert (other.status, other.json["error"]) == (409, "idempotency_conflict")
            header = client.post(
                "/orders", BODY | {"client_id": "client-A"}, {"Idempotency-Key": "k"}
            )
            assert header.status == 200
            # The key is this client's and this instrument's alone.
            assert client.order("buy", 1, 10, instrument="ETH-USD", idempotency_key="k").status in (
                200, 201,
            )  # fmt: skip
    with first.client() as client:
        placed = client.get("/orders?client_id=client-A&instrument=BTC-USD").json["orders"]
    assert [order["order_id"] for order in placed] == [maker]


def answered(client: Client, web: Exchange) -> Answer:
    """Return the answer to the repeat; until the matcher is back, a repeat is refused."""
    return eventually(
        lambda: (
            (answer := client.order("buy", 1, 10, idempotency_key="k")).status != 503 and answer
        ),
        f"an answer\n{web.logs()}",
    )
