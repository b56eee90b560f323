"""The short way of the most common request: one order, over a connection that is kept.

Sanic spends twice as much on such a request as all else that this process does for its order:
header objects, routing, middleware, tasks. Here the request is read from the bytes as they came,
and answered with bytes.

Only what is as usual goes this way: a whole request of one known form, a well-formed order, room
in the limits. Everything else is left to Sanic as it came, with nothing counted or begun, so what a
request means and why one is refused is decided in one place: `submit_order` and the middleware.
"""

import logging
import re
import time
from functools import lru_cache
from typing import NamedTuple, Protocol

import orjson
from sanic.helpers import STATUS_CODES

from api import observe, trading
from api.errors import ApiError
from api.exchange import Exchange
from api.middleware import BODY_BYTES_MAX, host_name, is_json
from api.schemas import dump, read_json, read_order, submitted_json

REQUEST_LINE = b"POST /orders HTTP/1.1"
HEAD_BYTES_MAX = 2_048
# Heads remembered: those of one client differ in little but the length of the body.
HEADS_MAX = 1_024
# Headers that change nothing, or that are read here. With any other, the request is Sanic's.
KNOWN = frozenset((
    b"accept", b"accept-encoding", b"accept-language", b"connection", b"content-length",
    b"content-type", b"host", b"idempotency-key", b"user-agent", b"x-request-id",
))  # fmt: skip
# Printable, and no spaces that one reader takes away and another does not.
VALUE = re.compile(rb"[!-~]([ -~]*[!-~])?")


class Head(NamedTuple):
    """What the head of a request says, of which everything else is as usual."""

    length: int
    host: str | None
    idempotency_key: str | None
    request_id: str | None


class Way(Protocol):
    """A connection whose client waits for an answer."""

    def answer(self, data: bytes, *, close: bool) -> None:
        """Send the answer."""


@lru_cache(maxsize=HEADS_MAX)
def read_head(head: bytes) -> Head | None:
    """Read the lines of a request before the empty one; None when Sanic must."""
    line, *lines = head.split(b"\r\n")
    fields: dict[bytes, str] = {}
    for each in lines:
        name, _, value = each.partition(b":")
        name, value = name.lower(), value.removeprefix(b" ")
        if name not in KNOWN or name in fields or not VALUE.fullmatch(value):
            return None
        fields[name] = value.decode()
    length = fields.get(b"content-length", "")
    if (
        line != REQUEST_LINE
        or not (length.isdigit() and len(length) <= 5 and 0 < int(length) <= BODY_BYTES_MAX)
        or not is_json(fields.get(b"content-type", ""))
        or fields.get(b"connection", "keep-alive").lower() != "keep-alive"
    ):
        return None
    return Head(
        int(length),
        fields.get(b"host"),
        fields.get(b"idempotency-key"),
        fields.get(b"x-request-id"),
    )


class Express:
    """Takes orders from connections and answers them."""

    def __init__(self, exchange: Exchange, allowed_hosts: frozenset[str] | None) -> None:
        self._exchange = exchange
        self._allowed_hosts = allowed_hosts

    def take(self, way: Way, address: str, data: bytes) -> bool:
        """Take a request, which gets its answer when there is one; False when Sanic must.

        `data` is what a connection has read while no request was under way on it.
        """
        end = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
        head = read_head(data[:end]) if end > 0 else None
        if head is None or len(data) - end - 4 != head.length:
            return False
        exchange = self._exchange
        allowed, host = self._allowed_hosts, head.host
        if (
            exchange.stopping
            # Behind proxies, their headers say whose request it is.
            or exchange.limiter.behind_proxies
            or (allowed is not None and host is not None and host_name(host) not in allowed)
            or observe.logger.isEnabledFor(logging.DEBUG)
        ):
            return False
        began = time.perf_counter()
        try:
            order = read_order(read_json(data[end + 4 :]), head.idempotency_key)
        except ApiError:
            return False
        verdict = exchange.limiter.take_at_once(address, order.client_id)
        if verdict is None:
            return False
        request = Request(exchange, way, head, began, exchange.limiter.headers(verdict))
        trading.begin(exchange, order, request.end)
        return True


class Request:
    """An order that was taken, until it is answered."""

    __slots__ = ("_began", "_exchange", "_head", "_headers", "_way")

    def __init__(
        self, exchange: Exchange, way: Way, head: Head, began: float, headers: dict[str, str]
    ) -> None:
        self._exchange = exchange
        self._way = way
        self._head = head
        self._began = began
        self._headers = headers

    def end(self, outcome: trading.Outcome) -> None:
        """Answer, as soon as the book is there that the answer shows; it normally is."""
        if isinstance(outcome, ApiError):
            request_id = observe.named(self._head.request_id)
            body = dump(outcome.body() | {"request_id": request_id})
            self._answer(outcome.status, body, outcome.headers)
            return
        top = self._exchange.top_at_once(outcome.order.instrument, outcome.sequence)
        if top is None:
            self._exchange.start(self._end_later(outcome))
        else:
            self._accept(outcome, top)

    async def _end_later(self, submitted: trading.Submitted) -> None:
        instrument = submitted.order.instrument
        self._accept(submitted, await self._exchange.top_of_book(instrument, submitted.sequence))

    def _accept(self, submitted: trading.Submitted, top: bytes | None) -> None:
        answer = submitted_json(submitted.order, submitted.trades)
        answer["orderbook"] = orjson.Fragment(top) if top else None
        if submitted.repeated:
            self._answer(200, dump(answer), {"Idempotent-Replayed": "true"})
        else:
            self._answer(201, dump(answer), {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        exchange = self._exchange
        close = exchange.stopping
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers | self._headers).items())
        head = (
            f"HTTP/1.1 {status} {STATUS_CODES[status].decode()}\r\n{lines}"
            f"content-length: {len(body)}\r\n"
            f"connection: {'close' if close else 'keep-alive'}\r\n"
            "content-type: application/json\r\n\r\n"
        )
        observe.count_request(
            exchange.metrics, "/orders", "POST", status, time.perf_counter() - self._began
        )
        self._way.answer(head.encode() + body, close=close)
