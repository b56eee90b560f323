"""Which requests go the short way, and that nothing of the others is counted or begun."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from api import trading
from api.errors import ApiError
from api.express import BODY_BYTES_MAX, HEAD_BYTES_MAX, Express, Head, read_head
from workers.adapters.limits import Verdict
from workers.core.records import OrderRecord
from workers.metrics import Metrics

ORDER = json.dumps(
    {"client_id": "a", "side": "buy", "type": "limit", "quantity": 1, "price": 2}
).encode()
FIELDS = {
    "Host": "exchange:3000", "Content-Type": "application/json", "Content-Length": str(len(ORDER)),
}  # fmt: skip


def head(line: str = "POST /orders HTTP/1.1", **fields: str | None) -> bytes:
    """Return a head with some fields changed (`_` for `-`); one that is None is left out."""
    changed = FIELDS | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in changed.items() if value is not None]
    return "\r\n".join([line, *lines]).encode()


def test_what_a_head_says() -> None:
    assert read_head(head()) == Head(len(ORDER), "exchange:3000", None, None)
    assert read_head(
        head(Idempotency_Key="k:1", X_Request_ID="r 1", User_Agent="x/1 (y; z)", Accept="*/*")
    ) == Head(len(ORDER), "exchange:3000", "k:1", "r 1")
    assert read_head(head(Host=None, Connection="Keep-Alive")) == Head(len(ORDER), None, None, None)
    assert read_head(head(Content_Type="Application/JSON; charset=utf-8")) is not None


@pytest.mark.parametrize(
    "given",
    [
        head("GET /orders HTTP/1.1"),
        head("POST /orders HTTP/1.0"),
        head("POST /orders?x=1 HTTP/1.1"),
        head("POST  /orders HTTP/1.1"),
        head("POST http://exchange/orders HTTP/1.1"),
        head(Content_Length=None),
        head(Content_Length="0"),
        head(Content_Length="+5"),
        head(Content_Length="5_0"),
        head(Content_Length="5 "),
        head(Content_Length="\t5"),
        head(Content_Length=str(BODY_BYTES_MAX + 1)),
        head() + b"\r\nContent-Length: 5",
        head() + b"\r\ncontent-length: 5",
        head(Transfer_Encoding="chunked"),
        head(Expect="100-continue"),
        head(Upgrade="websocket"),
        head(Connection="close"),
        head(Connection="upgrade"),
        head(Content_Type=None),
        head(Content_Type="text/plain"),
        head(X_Forwarded_For="1.2.3.4"),
        head(Anything="else"),
        head(Idempotency_Key=""),
        head(Idempotency_Key="k\u00e9"),
        head(Idempotency_Key="k\nHost: x"),
        head().replace(b"Host:", b"Host :"),
        head().replace(b"Host: ", b" Host: "),
        head().replace(b"\r\n", b"\n"),
        head() + b"\r\nno colon",
    ],
)
def test_heads_that_are_for_sanic(given: bytes) -> None:
    assert read_head(given) is None


class Way:
    """Keeps what is answered."""

    def __init__(self) -> None:
        self.answers: list[tuple[bytes, bool]] = []

    def answer(self, data: bytes, *, close: bool) -> None:
        self.answers.append((data, close))


class World:
    """An exchange that counts what is asked of it; orders end as `outcome`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcome: trading.Outcome) -> None:
        self.taken: list[tuple[str, str]] = []
        self.begun: list[Any] = []
        self.verdict: Verdict | None = Verdict(True, 9, 1, 0)
        self.exchange = SimpleNamespace(
            stopping=False,
            metrics=Metrics(),
            limiter=SimpleNamespace(
                behind_proxies=False,
                take_at_once=self.take,
                headers=lambda verdict: {"RateLimit-Remaining": str(verdict.remaining)},
            ),
            top_at_once=lambda name, sequence: b'{"bids":[],"asks":[]}',
        )
        self.express = Express(self.exchange, frozenset({"exchange"}))  # type: ignore[arg-type]

        def begin(exchange: Any, order: Any, done: Any) -> None:
            self.begun.append(order)
            done(outcome)

        monkeypatch.setattr(trading, "begin", begin)

    def take(self, address: str, client_id: str) -> Verdict | None:
        if self.verdict is not None:
            self.taken.append((address, client_id))
        return self.verdict

    def send(self, data: bytes) -> list[tuple[bytes, bool]] | None:
        """Return the answers; None when the request is for Sanic."""
        way = Way()
        return way.answers if self.express.take(way, "1.2.3.4", data) else None


STORED = OrderRecord(
    "it", 1, "a", "BTC-USD", "buy", "limit", 2, 1, 0, 0, "open", "", "", 1_000_000, 1_000_000
)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, trading.Submitted(STORED, ()))


async def test_an_order_is_answered(world: World) -> None:
    answers = world.send(head() + b"\r\n\r\n" + ORDER)
    assert answers is not None
    ((answer, close),) = answers
    lines, _, body = answer.partition(b"\r\n\r\n")
    assert lines.decode().split("\r\n") == [
        "HTTP/1.1 201 Created",
        "RateLimit-Remaining: 9",
        f"content-length: {len(body)}",
        "connection: keep-alive",
        "content-type: application/json",
    ]
    assert json.loads(body)["order"]["order_id"] == "it"
    assert json.loads(body)["orderbook"] == {"bids": [], "asks": []}
    assert (world.taken, len(world.begun), close) == ([("1.2.3.4", "a")], 1, False)


async def test_a_refusal_is_answered_in_the_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, ApiError("overloaded", "try again"))
    world.exchange.stopping = False
    answers = world.send(head(X_Request_ID="mine") + b"\r\n\r\n" + ORDER)
    assert answers is not None
    lines, _, body = answers[0][0].partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n")
    assert json.loads(body) == {"error": "overloaded", "message": "try again", "request_id": "mine"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        head(),
        head() + b"\r\n\r\n" + ORDER[:-1],
        head() + b"\r\n\r\n" + ORDER + b"\r\n",
        (head() + b"\r\n\r\n" + ORDER) * 2,
        head(User_Agent="x" * HEAD_BYTES_MAX) + b"\r\n\r\n" + ORDER,
        head(Host="somebody.else") + b"\r\n\r\n" + ORDER,
        head() + b"\r\n\r\n" + ORDER.replace(b"buy", b"bid"),
        head() + b"\r\n\r\n" + ORDER.replace(b"{", b"["),
        head(Idempotency_Key="k k") + b"\r\n\r\n" + ORDER,
    ],
    ids=[
        "nothing", "no body", "a part", "more", "two", "a long head", "another host", "no order",
        "no JSON", "no key",
    ],
)  # fmt: skip
async def test_what_is_for_sanic_counts_and_begins_nothing(world: World, data: bytes) -> None:
    assert world.send(data) is None
    assert (world.taken, world.begun) == ([], [])


async def test_who_must_be_counted_by_redis_and_who_comes_late_are_for_sanic(world: World) -> None:
    world.verdict = None
    assert world.send(head() + b"\r\n\r\n" + ORDER) is None
    world.verdict = Verdict(True, 9, 1, 0)
    world.exchange.stopping = True
    assert world.send(head() + b"\r\n\r\n" + ORDER) is None
    world.exchange.stopping = False
    world.exchange.limiter.behind_proxies = True
    assert world.send(head() + b"\r\n\r\n" + ORDER) is None
    assert (world.taken, world.begun) == ([], [])
