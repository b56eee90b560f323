"""The clients: they trade without a pause, write down everything, and ask again when in doubt."""

import asyncio
import itertools
import random
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from ops.errors import OpsError
from ops.faulting.cluster import INSTRUMENTS, wait_for
from ops.faulting.history import CancelAsked, History, OrderAsked

# Longer than the exchange takes to answer by itself.
TIMEOUT = aiohttp.ClientTimeout(total=20, connect=5)
RETRY_S = 0.05
# An order that nobody heard of is asked for again after this, and again.
ASK_AGAIN_S = 0.2
ASK_AGAIN_LENGTH_MAX = 50
RESOLVE_S = 90.0
# So many answers tell how quick they are; what is no slower than this is normal.
LATENCIES_KEPT = 8
SLOW_FACTOR = 4.0
SLOW_S = 2.0
PRICE = 100
FINISHED = 409


class Load:
    """`clients` clients in a thread of their own; each sends batches of `batch` orders."""

    def __init__(
        self, port: int, seed: int, clients: int = 8, batch: int = 20, pause_s: float = 0.0
    ) -> None:
        self.history = History()
        self._port = port
        self._url = f"http://127.0.0.1:{port}"
        self._seed = seed
        self._clients = clients
        self._batch = batch
        self._pause_s = pause_s
        self._numbers = itertools.count(1)
        self._run = f"{seed:x}-{time.time_ns():x}"
        self._stopping = threading.Event()
        self._unknown: list[OrderAsked] = []
        self._resting: defaultdict[int, list[OrderAsked]] = defaultdict(list)
        self._repeatable: defaultdict[int, list[OrderAsked]] = defaultdict(list)
        self._marked = 0.0
        self._first_ok: dict[str, float] = {}
        self._thread = threading.Thread(target=self._main, daemon=True)
        self.acknowledged = 0
        # When requests were answered, and after how many seconds.
        self._latencies: deque[tuple[float, float]] = deque(maxlen=LATENCIES_KEPT)
        self._normal_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the clients finish, and ask for what is still unknown until it is known."""
        self._stopping.set()
        self._thread.join(RESOLVE_S + 60)
        if self._thread.is_alive():
            raise OpsError("the clients do not end")

    # What the campaign wants to know.

    def mark(self) -> float:
        """From now on watch for the first acknowledgement of each instrument; return the time."""
        self._first_ok = {}
        self._marked = time.monotonic()
        return self._marked

    def await_recovery(self, timeout_s: float) -> float:
        """Wait until each instrument acknowledged an order that was sent after the mark.

        Return how many seconds the slowest took.
        """
        wait_for(
            lambda: len(self._first_ok) == len(INSTRUMENTS) or self.history.problems,
            f"orders of every instrument acknowledged, only {sorted(self._first_ok)}", timeout_s,
        )  # fmt: skip
        return max(self._first_ok.values(), default=self._marked) - self._marked

    def await_orders(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait for `count` more acknowledgements."""
        target = self.acknowledged + count
        wait_for(
            lambda: self.acknowledged >= target or self.history.problems,
            f"{count} more acknowledged orders", timeout_s,
        )  # fmt: skip

    def learn_normal(self, timeout_s: float = 60.0) -> None:
        """Take the latency of now, in peace, for the normal one."""
        self._latencies.clear()
        wait_for(
            lambda: len(self._latencies) >= LATENCIES_KEPT or self.history.problems,
            "answers in peace", timeout_s,
        )  # fmt: skip
        self._normal_s = statistics.median(seconds for _, seconds in self._latencies)

    def await_normal(self, timeout_s: float) -> float:
        """Wait until half of the newest answers are as quick as normally.

        Return how many seconds that took. Slower by less than `SLOW_FACTOR`, or than `SLOW_S` in
        all, is noise: other work of the machine.
        """
        began = time.monotonic()
        limit_s = max(SLOW_FACTOR * self._normal_s, SLOW_S)
        self._latencies.clear()

        def normal() -> bool:
            newest = [seconds for _, seconds in list(self._latencies)]
            return len(newest) >= LATENCIES_KEPT and statistics.median(newest) <= limit_s

        wait_for(
            lambda: normal() or self.history.problems,
            f"answers within {limit_s:.2f} s, the normal being {self._normal_s:.2f} s", timeout_s,
        )  # fmt: skip
        return time.monotonic() - began

    def abandon(self, count: int) -> None:
        """Send orders on connections that are closed at once; nobody hears the answers."""
        asyncio.run_coroutine_threadsafe(self._abandon(count), self._loop).result(30)

    # In the thread.

    def _main(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            self._session = session
            await asyncio.gather(*(self._trade(number) for number in range(self._clients)))
            end = time.monotonic() + RESOLVE_S
            while self._unknown and time.monotonic() < end and not self.history.problems:
                if not await self._ask_again(0.0):
                    await asyncio.sleep(ASK_AGAIN_S)

    async def _trade(self, number: int) -> None:
        chance = random.Random(self._seed * 1_000 + number)
        try:
            while not self._stopping.is_set() and not self.history.problems:
                single = number == 0 or self._batch == 1
                orders = [self._make(chance, number) for _ in range(1 if single else self._batch)]
                if not await self._send(orders, number, single=single):
                    await asyncio.sleep(RETRY_S)
                if chance.random() < 0.3:
                    await self._cancel(chance, number)
                if chance.random() < 0.2:
                    await self._repeat(chance, number)
                await self._ask_again(ASK_AGAIN_S)
                if self._pause_s:
                    await asyncio.sleep(self._pause_s)
        except Exception as error:
            self.history.problems.append(f"client {number}: {type(error).__name__}: {error}")

    def _make(self, chance: random.Random, number: int) -> OrderAsked:
        n = next(self._numbers)
        name = f"{self._run}-{n}"
        named = chance.random()
        limit = chance.random() < 0.7
        return OrderAsked(
            order_id="" if named < 0.2 else f"o-{name}",
            key="" if named > 0.6 else f"k-{name}",
            client_id=f"client-{number}-{chance.randrange(5)}",
            instrument=chance.choice(INSTRUMENTS),
            side=chance.choice(("buy", "sell")),
            type="limit" if limit else "market",
            price=PRICE + chance.randint(-5, 5) if limit else None,
            quantity=chance.randint(1, 9),
            invoked=time.monotonic(),
        )

    async def _send(self, orders: Sequence[OrderAsked], number: int, *, single: bool) -> bool:
        """Send fresh orders and note what comes of them; False when nothing could be sent."""
        now = time.monotonic()
        for order in orders:
            order.invoked = now
        self.history.orders += orders
        sent, results = await self._post(orders, single)
        if sent:
            self._latencies.append((now, time.monotonic() - now))
        for order, (status, answer) in zip(orders, results, strict=True):
            self._note(order, status, answer)
            if order.state == "ok":
                if order.status in ("open", "partially_filled"):
                    self._resting[number].append(order)
                if order.order_id or order.key:
                    self._repeatable[number].append(order)
            elif order.state == "unknown":
                self._unknown.append(order)
        del self._resting[number][:-200], self._repeatable[number][:-50]
        return sent

    async def _post(
        self, orders: Sequence[OrderAsked], single: bool
    ) -> tuple[bool, list[tuple[int, dict[str, Any]]]]:
        """Send orders; return whether they were sent, and (status, answer) of each.

        Status 0 stands for no answer.
        """
        path, body = "/orders/batch", {"orders": [order.body() for order in orders]}
        if single:
            path, body = "/orders", orders[0].body()
        try:
            async with self._session.post(
                self._url + path,
                data=orjson.dumps(body),
                headers={"Content-Type": "application/json"},
            ) as response:
                answer = orjson.loads(await response.read())
                status = response.status
        except aiohttp.ClientConnectorError:
            return False, [(503, {})] * len(orders)  # it never left
        except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError):
            return False, [(0, {})] * len(orders)
        if single or status != 200:
            return True, [(status, answer)] * len(orders)
        return True, [(result["status"], result) for result in answer["results"]]

    def _note(self, order: OrderAsked, status: int, answer: dict[str, Any]) -> None:
        """Write down the first answer to an order."""
        order.completed = time.monotonic()
        if status in (200, 201):
            self._acknowledged(order, answer)
            if status == 200:
                self._problem(order, status, answer)  # nothing was sent before
        elif status == 503:
            order.state = "refused"
        elif status in (0, 504):
            order.state = "unknown"
        else:
            self._problem(order, status, answer)

    def _acknowledged(self, order: OrderAsked, answer: dict[str, Any]) -> None:
        told = answer["order"]
        order.state = "ok"
        order.order_no, order.acked_id = told["order_no"], told["order_id"]
        order.status, order.filled = told["status"], told["filled_quantity"]
        order.trades = [
            (trade["trade_no"], trade["price"], trade["quantity"]) for trade in answer["trades"]
        ]
        self.acknowledged += 1
        if order.invoked >= self._marked:
            self._first_ok.setdefault(order.instrument, order.completed)

    def _problem(self, order: OrderAsked, status: int, answer: dict[str, Any]) -> None:
        self.history.problems.append(f"{order.body()}: {status} {answer}")

    async def _abandon(self, count: int) -> None:
        chance = random.Random(next(self._numbers))
        for order in [self._make(chance, self._clients) for _ in range(count)]:
            self.history.orders.append(order)
            body = orjson.dumps(order.body())
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                order.state = "refused"
                continue
            writer.write(
                b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            writer.close()
            order.state, order.completed = "unknown", time.monotonic()
            self._unknown.append(order)

    async def _ask_again(self, age_s: float) -> bool:
        """Repeat orders whose outcome nobody knows; return whether there were any."""
        before = time.monotonic() - age_s
        due = [order for order in self._unknown if order.completed <= before]
        # Without a name of its own an order cannot be asked for.
        due = [order for order in due if order.order_id or order.key][:ASK_AGAIN_LENGTH_MAX]
        if not due:
            return False
        taken = set(map(id, due))
        self._unknown = [order for order in self._unknown if id(order) not in taken]
        _, results = await self._post(due, single=False)
        for order, (status, answer) in zip(due, results, strict=True):
            order.completed = time.monotonic()
            if status in (200, 201):
                self._acknowledged(order, answer)
                order.resolved = True
            elif status in (0, 503, 504):
                self._unknown.append(order)  # this time it was not applied; the first may be
            else:
                self._problem(order, status, answer)
        return True

    async def _repeat(self, chance: random.Random, number: int) -> None:
        """Send acknowledged orders once more: the same answer, or a refusal of another body."""
        again = self._repeatable[number]
        if not again:
            return
        order = chance.choice(again)
        other = chance.random() < 0.3
        body = order.body() | ({"quantity": order.quantity + 1} if other else {})
        try:
            async with self._session.post(f"{self._url}/orders", json=body) as response:
                status, answer = response.status, orjson.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError):
            return
        self.history.repeats += 1
        if status in (503, 504):
            return
        if other:
            if status != 409:
                self._problem(order, status, answer)
        # 201 is what an edge says that had to look the order up and had not heard of it before: it
        # has only just started, or a matcher died between commit and publish.
        elif status not in (200, 201) or answer["order"]["order_no"] != order.order_no:
            self._problem(order, status, answer)

    async def _cancel(self, chance: random.Random, number: int) -> None:
        """Cancel an order that rested when it was last heard of."""
        resting = self._resting[number]
        if not resting:
            return
        order = resting.pop(chance.randrange(len(resting)))
        asked = CancelAsked(order.acked_id, time.monotonic())
        self.history.cancels.append(asked)
        for _ in range(100):
            if await self._cancel_once(asked, order.instrument):
                return
            await asyncio.sleep(ASK_AGAIN_S)

    async def _cancel_once(self, asked: CancelAsked, instrument: str) -> bool:
        url = f"{self._url}/orders/{asked.order_id}/cancel?instrument={instrument}"
        try:
            async with self._session.post(url) as response:
                status, answer = response.status, await response.read()
        except aiohttp.ClientConnectorError:
            return False
        except (aiohttp.ClientError, OSError, TimeoutError):
            asked.state = "unknown"
            return False
        asked.completed = time.monotonic()
        if status == 200:
            asked.state = "ok"
        elif status == FINISHED:
            asked.state, asked.finished = "ok", True
        elif status == 504:
            asked.state = "unknown"
            return False
        elif status == 503:
            if asked.state == "pending":
                asked.state = "refused"
            return False
        else:
            self.history.problems.append(f"cancel {asked.order_id}: {status} {answer!r}")
        return True
