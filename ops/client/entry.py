"""Orders and cancels over a WebSocket: many under way, each answer matched to its command."""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Generic, TypeVar

from ops.client.connection import Stream

# Fewer than the exchange reads ahead of one connection, so that answers keep coming.
UNANSWERED_MAX: Final = 500
# Answers to a command; the rest of what is read is the feed.
ANSWERS: Final = ("order_accepted", "order_cancelled", "error")
# Refused for now, certainly not applied.
BUSY: Final = ("unavailable", "overloaded", "rate_limited")
# Nobody knows whether it was applied.
UNKNOWN: Final = ("unknown_outcome", "internal_error")

_LATENCIES_KEPT: Final = 2_000

Command = TypeVar("Command")


class OrderEntry(Generic[Command]):
    """What is under way, by the request id that its answer carries, and how long answers take."""

    def __init__(self) -> None:
        self.answered = 0
        # Seconds from sending to answer of the newest answers.
        self.latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._numbers = 0
        self._unanswered: dict[int, tuple[float, Command]] = {}

    @property
    def under_way(self) -> int:
        """How many commands have no answer yet."""
        return len(self._unanswered)

    async def send(self, stream: Stream, message: dict[str, Any], command: Command) -> None:
        """Send the message of a command. Raises Disconnected."""
        self._numbers += 1
        self._unanswered[self._numbers] = time.monotonic(), command
        await stream.send({**message, "request_id": self._numbers})

    def answer(self, message: dict[str, Any]) -> Command | None:
        """Return the command that a message answers, None if it is of no command of ours."""
        sent = self._unanswered.pop(int(message.get("request_id") or 0), None)
        if sent is None:
            return None
        since, command = sent
        if message["type"] != "error":
            self.answered += 1
            self.latencies.append(time.monotonic() - since)
        return command

    def unanswered(self) -> list[Command]:
        """Return what has no answer yet, in the order in which it was sent."""
        return [command for _, command in self._unanswered.values()]

    def lose(self) -> list[Command]:
        """Return what will not be answered any more, in the order in which it was sent."""
        lost = self.unanswered()
        self._unanswered.clear()
        return lost


async def while_reading(
    reading: Coroutine[Any, Any, None], work: Coroutine[Any, Any, None]
) -> None:
    """Work, and read what comes back, until the work is done or either of them fails."""
    tasks = asyncio.create_task(reading), asyncio.create_task(work)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until told to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        pass
