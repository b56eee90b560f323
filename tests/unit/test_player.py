"""Playing a recording through connections that break, against an exchange of a few lines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ops.client.connection import Disconnected
from ops.recording.files import open_recording
from ops.recording.player import Player


class Line:
    """An exchange that accepts everything, and the connections to it.

    `breaks_after` says after how many commands each connection in turn breaks, the last of them
    unanswered; `loses_at_s` after how many seconds; `busy` which commands, by their number, are
    refused for now.
    """

    def __init__(
        self, breaks_after: tuple[int, ...] = (), loses_at_s: float = 60, busy: tuple[int, ...] = ()
    ) -> None:
        self.applied: dict[str, str] = {}
        self.received = 0
        self.connections = 0
        self._breaks = list(breaks_after)
        self._loses_at_s = loses_at_s
        self._busy = busy

    @asynccontextmanager
    async def stream(self) -> AsyncIterator["LineStream"]:
        self.connections += 1
        after = self._breaks.pop(0) if self._breaks else 10**9
        loses_at_s, self._loses_at_s = self._loses_at_s, 60
        yield LineStream(self, after, loses_at_s)

    def apply(self, message: dict[str, Any]) -> dict[str, Any]:
        self.received += 1
        order_id = message["order_id"]
        answer: dict[str, Any] = {"request_id": str(message["request_id"])}
        if self.received in self._busy:
            return answer | {"type": "error", "error": "overloaded", "message": "later"}
        if message["type"] == "cancel":
            if self.applied.get(order_id) != "open":
                code = "order_finished" if order_id in self.applied else "not_found"
                return answer | {"type": "error", "error": code, "message": code}
            self.applied[order_id] = "cancelled"
            order = {"order_id": order_id, "status": "cancelled"}
            return answer | {"type": "order_cancelled", "order": order}
        self.applied.setdefault(order_id, "open")
        order = {"order_id": order_id, "status": self.applied[order_id]}
        return answer | {"type": "order_accepted", "order": order, "trades": []}


class LineStream:
    def __init__(self, line: Line, breaks_after: int, loses_at_s: float) -> None:
        self._line = line
        self._left = breaks_after
        self._loses_at_s = loses_at_s
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def subscribe(self, *_: Any, **__: Any) -> None:
        asyncio.get_running_loop().call_later(self._loses_at_s, self._answers.put_nowait, None)

    async def send(self, message: dict[str, Any]) -> None:
        answer = self._line.apply(message)
        self._left -= 1
        self._answers.put_nowait(answer if self._left else None)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        while (message := await self._answers.get()) is not None:
            yield message
        raise Disconnected("cut")


def csv(count: int, gap_s: float = 0.0) -> bytes:
    rows = [f"{number * gap_s},o{number},buy,100,1" for number in range(count)]
    return "\n".join(["time,order_id,side,price,quantity", *rows]).encode()


async def play(line: Line, content: bytes, speed: float, keep: bool = True) -> Player:
    recording = open_recording(Path("f"), BytesIO(content), instrument="BTC-USD", clients=1)
    player = Player(line, recording, "r", speed, lambda _: None)  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        await player.play(asyncio.Event(), keep)
    return player


async def test_a_connection_lost_while_a_line_is_waited_for_loses_no_line() -> None:
    line = Line(loses_at_s=0.15)
    player = await play(line, csv(4, gap_s=0.1), speed=1.0)
    assert list(line.applied) == ["r.o0", "r.o1", "r.o2", "r.o3"]
    assert line.connections == 2
    assert player.counts["orders: open"] == 4


@pytest.mark.parametrize("breaks", [(1,), (2,), (3, 1, 1, 7)])
async def test_what_was_not_answered_is_sent_again_in_its_order(breaks: tuple[int, ...]) -> None:
    line = Line(breaks_after=breaks)
    player = await play(line, csv(30), speed=0)
    assert list(line.applied) == [f"r.o{number}" for number in range(30)]
    assert line.connections == len(breaks) + 1
    assert player.counts["orders: open"] == 30
    assert len(player.remaining) == 30


async def test_a_busy_exchange_gets_it_again_and_a_cancel_waits_for_its_order() -> None:
    content = b'{"order_id":"a","side":"buy","price":1,"quantity":1}\n{"cancel":"a"}\n'
    line = Line(busy=(1,))
    player = await play(line, content, speed=0)
    assert line.applied == {"r.a": "cancelled"}
    assert player.counts["cancels: cancelled"] == 1
    assert not player.remaining


async def test_what_rests_is_taken_back_unless_it_is_kept() -> None:
    line = Line()
    player = await play(line, csv(700), speed=0, keep=False)
    assert set(line.applied.values()) == {"cancelled"}
    assert player.counts["taken back at the end"] == 700
