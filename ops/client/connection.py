"""Reaching an exchange from outside: HTTP, the WebSocket, and when to try again."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from ops.client.messages import parse
from ops.errors import OpsError

URL_DEFAULT: Final = "http://127.0.0.1:3000"
# A server that is stopped, not gone, is noticed by pings that nobody answers.
_HEARTBEAT_S: Final = 15.0
_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 10.0
# How long a command waits for an exchange that is not there: both may have been started at once.
_FIRST_CONTACT_S: Final = 15.0
_DELAY_MIN_S: Final = 0.1
_DELAY_MAX_S: Final = 5.0

Answer = TypeVar("Answer")


class Disconnected(Exception):
    """Raised when the exchange cannot be reached, or not any more; says why. Trying again helps."""


class Refused(OpsError):
    """Raised when the exchange answers that this cannot be: trying again does not help."""


def default_url() -> str:
    """Return where the exchange is when nobody says so."""
    return os.environ.get("EXCHANGE_URL", URL_DEFAULT)


def check_url(text: str) -> str:
    """Return the address without a slash at its end. Raises OpsError."""
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host:
        raise OpsError(f"--url: {text} is not an http:// or https:// address")
    return text.rstrip("/")


class Backoff:
    """Seconds to wait before each next try: doubling, with chance in it so that clients part."""

    def __init__(self) -> None:
        self._random = Random()
        self._tries = 0

    def succeeded(self) -> None:
        """Start again at the shortest."""
        self._tries = 0

    def next(self) -> float:
        """Return how long to wait now."""
        most = min(_DELAY_MAX_S, _DELAY_MIN_S * 2.0 ** min(self._tries, 10))
        self._tries += 1
        return float(most * (0.5 + self._random.random() / 2))


class Stream:
    """One WebSocket to `/stream`. Sends in order; iterating yields parsed messages until the end,
    which is Disconnected."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises Disconnected."""
        try:
            await self._ws.send_str(orjson.dumps(message).decode())
        except (aiohttp.ClientError, OSError) as error:
            raise Disconnected(f"connection lost ({error})") from error

    async def subscribe(
        self, channels: list[str], instrument: str, resume_from: int | None = None
    ) -> None:
        """Ask for channels of an instrument, if need be from after a sequence on."""
        message: dict[str, Any] = {
            "type": "subscribe",
            "channels": channels,
            "instrument": instrument,
        }
        if resume_from is not None:
            message["resume_from"] = resume_from
        await self.send(message)

    async def unsubscribe(self, channels: list[str], instrument: str) -> None:
        """Ask for no more of them."""
        await self.send({"type": "unsubscribe", "channels": channels, "instrument": instrument})

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what the server says. Raises Disconnected at the end."""
        async for message in self._ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                yield parse(message.data)
        raise Disconnected(f"connection closed ({self._ws.close_code})")


class Api:
    """The public API of one exchange."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._session = session

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Stream]:
        """Open a WebSocket. Raises Disconnected."""
        timeout = aiohttp.ClientWSTimeout(ws_close=1.0)
        connecting = self._session.ws_connect(
            f"{self.url}/stream", max_msg_size=0, heartbeat=_HEARTBEAT_S, timeout=timeout
        )
        try:
            async with asyncio.timeout(_CONNECT_S):
                ws = await connecting
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Disconnected(f"cannot connect to {self.url} ({_why(error)})") from error
        async with ws:
            yield Stream(ws)

    async def get(self, path: str, **params: str | int) -> Any:
        """Return the JSON of an answer, its numbers as texts. Raises Disconnected, Refused."""
        return await self._request("GET", path, params)

    async def cancel(self, order_id: str, instrument: str) -> None:
        """Cancel an order; one that is gone already is fine. Raises Disconnected, Refused."""
        path = f"/orders/{quote(order_id, safe='')}/cancel"
        await self._request("POST", path, {"instrument": instrument}, gone_is_fine=True)

    async def resting(self, client_id: str, instrument: str) -> list[dict[str, Any]]:
        """Return every resting order of a client. Raises Disconnected, Refused."""
        found: list[dict[str, Any]] = []
        params: dict[str, str | int] = {
            "client_id": client_id,
            "instrument": instrument,
            "status": "open,partially_filled",
            "limit": 1000,
        }
        while True:
            page = await self.get("/orders", **params)
            found += page["orders"]
            if not page["next_cursor"]:
                return found
            params["cursor"] = page["next_cursor"]

    async def _request(
        self, method: str, path: str, params: dict[str, str | int], gone_is_fine: bool = False
    ) -> Any:
        try:
            async with (
                asyncio.timeout(_ANSWER_S),
                self._session.request(method, f"{self.url}{path}", params=params) as response,
            ):
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Disconnected(f"{path} cannot be asked ({_why(error)})") from error
        try:
            fields = parse(body)
        except ValueError as error:
            raise Disconnected(f"{path} answered {status}, which is no JSON") from error
        if status < 300 or (gone_is_fine and status in (404, 409)):
            return fields
        message = fields.get("message", "") if isinstance(fields, dict) else ""
        if status >= 500 or status in (408, 429):
            raise Disconnected(f"{path} answered {status}: {message}")
        raise Refused(f"{path} answered {status}: {message}")


@asynccontextmanager
async def open_api(url: str) -> AsyncIterator[Api]:
    """Give the API of the exchange at `url`."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=("User-Agent",)
    ) as session:
        yield Api(session, url)


async def first_answer(ask: Callable[[], Awaitable[Answer]], stop: asyncio.Event) -> Answer | None:
    """Ask, and ask again while an exchange may just be starting; None when told to stop.

    Raises OpsError when nothing answers.
    """
    gives_up_at = time.monotonic() + _FIRST_CONTACT_S
    backoff = Backoff()
    while not stop.is_set():
        try:
            return await ask()
        except Disconnected as error:
            if time.monotonic() > gives_up_at:
                raise OpsError(f"{error}: start the exchange (./ops/run), or say --url") from error
        await asyncio.sleep(backoff.next())
    return None


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
