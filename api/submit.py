"""The request/reply half of exactly-once: correlate, append, wait, resolve.

A submitted command belongs to this process, not to the HTTP request that brought it: a client
that goes away changes nothing. A command is answered by the matcher's reply, which comes after the
commit; or, when no reply comes, by what PostgreSQL holds; or by `unknown_outcome`, never by a
guess.
"""

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import NamedTuple

from api.errors import ApiError
from workers.adapters.errors import AdapterError, OutcomeUnknown, Unavailable
from workers.adapters.lookups import Lookups
from workers.adapters.streams import Append, StreamWriter
from workers.core.channels import reply_channel
from workers.core.codec import Reply, decode_replies, encode_request
from workers.core.instruments import Instrument
from workers.core.messages import FINAL, CancelOrder, Command, SubmitOrder
from workers.core.records import OrderRecord
from workers.metrics import Metrics

logger = logging.getLogger(__name__)

# Requests per append: bounds how long one call occupies Redis.
APPEND_LENGTH_MAX = 512
# Between tries to look commands up while PostgreSQL is down.
LOOK_RETRY_S = 0.5
# Commands whose time is up are found at most so often: one timer serves all.
EXPIRE_S = 0.01
# How long the instrument of an order is known after its answer: a cancel may be right behind it.
REMEMBERED_S = 5.0


class Repeat(NamedTuple):
    """The command was not sent: another went out under its idempotency key a short while ago."""

    order_id: str


# The matcher's reply; or the order as PostgreSQL holds it; or why neither is needed.
Answer = Reply | OrderRecord | Repeat


class Pending(NamedTuple):
    """A command that was sent and is not answered yet; `due` is when its time is up."""

    instrument: Instrument
    command: Command
    answer: "asyncio.Future[Answer]"
    due: float


class NoReply(Exception):
    """Raised when the time is up and nothing is known of the command."""


class Submitter:
    """Sends commands and finds their answers."""

    def __init__(
        self,
        *,
        edge_id: str,
        writer: StreamWriter,
        lookups: Lookups,
        timeout_ms: int,
        in_flight_max: int,
        metrics: Metrics,
    ) -> None:
        self._reply_to = reply_channel(edge_id)
        self._writer = writer
        self._lookups = lookups
        self._timeout_ms = timeout_ms
        self._in_flight_max = in_flight_max
        self._metrics = metrics
        self._correlations = itertools.count(1)
        # In the order in which they were sent, which is that in which their time is up.
        self._pending: dict[int, Pending] = {}
        self._expirer: asyncio.TimerHandle | None = None
        # The instrument of each order that waits for its answer, by order_id.
        self._sent: dict[str, str] = {}
        # The same of those answered lately: since some moment, and in the time before it.
        self._answered: dict[str, str] = {}
        self._answered_before: dict[str, str] = {}
        self._forgot_at = 0.0
        self._outgoing: defaultdict[str, list[tuple[int, Append]]] = defaultdict(list)
        self._stopping = False
        # Instruments whose replies may have been lost.
        self._unresolved: set[str] = set()
        self._sender: asyncio.Task[None] | None = None
        self._resolver: asyncio.Task[None] | None = None

    def observe(self) -> None:
        """Tell the metrics how many commands are in flight."""
        self._metrics.commands_in_flight.set(len(self._pending))

    def instrument_of(self, order_id: str) -> str | None:
        """Return the instrument of an order that is or was on its way just now; else None."""
        for names in (self._sent, self._answered, self._answered_before):
            if (name := names.get(order_id)) is not None:
                return name
        return None

    def send(
        self, instrument: Instrument, command: Command, *, again: bool = False
    ) -> "asyncio.Future[Answer]":
        """Send `command`; return the future of its answer.

        Commands enter an instrument's stream in the order of these calls. `again` sends an order
        whose idempotency key went out before. The future raises ApiError (503) when the command was
        certainly not applied, NoReply when nobody can tell. It is the command's, not the caller's:
        see `submit` for who may be cancelled.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        # Cancels may go a little further: they make room.
        limit = self._in_flight_max
        if isinstance(command, CancelOrder):
            limit += limit // 4
        if self._stopping or len(self._pending) >= limit:
            _fail(answer, _stopping() if self._stopping else self._overloaded("in_flight"))
            return answer
        correlation = next(self._correlations)
        due = loop.time() + self._timeout_ms / 1000
        self._pending[correlation] = Pending(instrument, command, answer, due)
        if self._expirer is None:
            self._expirer = loop.call_at(due, self._expire)
        request = encode_request(
            command,
            ttl_ms=self._timeout_ms,
            reply_to=self._reply_to,
            correlation=correlation,
        )
        if isinstance(command, CancelOrder):
            append = Append("cancel", command.order_id, "", "", request)
        else:
            self._sent[command.order_id] = instrument.instrument
            append = Append(
                "again" if again else "order",
                command.order_id,
                command.client_id,
                command.idempotency_key,
                request,
            )
        self._outgoing[instrument.instrument].append((correlation, append))
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._send())
        return answer

    async def submit(
        self, instrument: Instrument, command: Command, *, again: bool = False
    ) -> Answer:
        """Send `command` and wait for its answer; it goes on, whoever stops waiting for it."""
        return await asyncio.shield(self.send(instrument, command, again=again))

    async def finish(self) -> None:
        """Take no more commands; return when every one is answered, as long as one may take."""
        self._stopping = True
        if self._pending:
            await asyncio.wait([pending.answer for pending in self._pending.values()])

    def receive(self, payload: bytes) -> None:
        """Take in a message of replies."""
        for reply in decode_replies(payload):
            self._settle(reply.correlation, reply)

    def look_up(self, instruments: Iterable[str]) -> None:
        """Replies may have been lost: look for the pending commands of these in PostgreSQL."""
        self._unresolved.update(instruments)
        if self._resolver is None or self._resolver.done():
            self._resolver = asyncio.get_running_loop().create_task(self._resolve())

    async def close(self) -> None:
        """Let what is being sent be sent."""
        if self._expirer is not None:
            self._expirer.cancel()
        for task in (self._sender, self._resolver):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)

    async def _send(self) -> None:
        """Append what has gathered; what comes meanwhile goes together in the next round."""
        while self._outgoing:
            instrument, requests = self._outgoing.popitem()
            for start in range(0, len(requests), APPEND_LENGTH_MAX):
                piece = requests[start : start + APPEND_LENGTH_MAX]
                try:
                    results = await self._writer.append(
                        instrument, [request for _, request in piece]
                    )
                    for (correlation, _), result in zip(piece, results, strict=True):
                        if result.refused:
                            self._refuse(correlation, self._overloaded("lag"))
                        elif result.first_order_id is not None:
                            self._settle(correlation, Repeat(result.first_order_id))
                except Unavailable as error:
                    logger.warning("%s: %s", instrument, error)
                    for correlation, _ in piece:
                        self._refuse(correlation, _closed(instrument))
                except OutcomeUnknown as error:
                    # They may be in the stream. Keep waiting; never send them again.
                    logger.warning("%s: append without an answer: %s", instrument, error)

    def _refuse(self, correlation: int, error: Exception) -> None:
        pending = self._take(correlation)
        if pending is not None:
            _fail(pending.answer, error)

    def _overloaded(self, cause: str) -> ApiError:
        self._metrics.overload_refusals(cause).inc()
        return ApiError(
            "overloaded", "too many orders are waiting, this one was not applied: try again shortly"
        )

    def _remember(self, order_id: str) -> None:
        """Keep an order's instrument for a while after its answer."""
        name = self._sent.pop(order_id, None)
        if name is not None:
            now = asyncio.get_running_loop().time()
            if now - self._forgot_at > REMEMBERED_S:
                self._answered_before, self._answered = self._answered, {}
                self._forgot_at = now
            self._answered[order_id] = name

    def _settle(self, correlation: int, answer: Answer) -> None:
        pending = self._take(correlation)
        if pending is not None and not pending.answer.done():
            pending.answer.set_result(answer)

    def _take(self, correlation: int) -> Pending | None:
        """Return a command that is answered now; None when it was already."""
        pending = self._pending.pop(correlation, None)
        if pending is not None and isinstance(pending.command, SubmitOrder):
            self._remember(pending.command.order_id)
        return pending

    def _expire(self) -> None:
        """Give up those whose time is up, and come back for the next one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = [*takewhile(lambda sent: sent[1].due <= now, self._pending.items())]
        for correlation, _ in late:
            self._refuse(correlation, NoReply())
        self._expirer = None
        if self._pending:
            due = next(iter(self._pending.values())).due
            self._expirer = loop.call_at(max(due, now + EXPIRE_S), self._expire)

    async def _resolve(self) -> None:
        """Look, and go on looking while there is reason to."""
        while self._unresolved:
            names, self._unresolved = self._unresolved, set()
            waiting = {
                correlation: pending.command
                for correlation, pending in self._pending.items()
                if pending.instrument.instrument in names
            }
            if waiting and not await self._look(waiting):
                self._unresolved |= names
                await asyncio.sleep(LOOK_RETRY_S)

    async def _look(self, waiting: Mapping[int, Command]) -> bool:
        """Answer those commands that PostgreSQL tells of; False when it does not answer."""
        try:
            orders = await self._lookups.orders(
                list({command.order_id for command in waiting.values()})
            )
        except AdapterError as error:
            logger.warning("cannot look for unanswered commands: %s", error)
            return False
        for correlation, command in waiting.items():
            order = orders.get(command.order_id)
            # A cancel whose order still rests may be on its way: keep waiting.
            if order and (isinstance(command, SubmitOrder) or order.status in FINAL):
                self._settle(correlation, order)
        return True


def _fail(answer: "asyncio.Future[Answer]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # seen, also when the client went away and nobody waits for it


def _stopping() -> ApiError:
    return ApiError(
        "unavailable", "this process is stopping and takes no more orders: connect again"
    )


def _closed(instrument: str) -> ApiError:
    return ApiError(
        "unavailable",
        f"{instrument} does not trade at the moment, nothing was applied: try again shortly",
    )
