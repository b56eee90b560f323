"""The matcher's loop when something fails at the worst moment."""

import asyncio
from typing import Any

import pytest

from tests.builders import submit
from workers.adapters.errors import StreamLost
from workers.core.codec import encode_request
from workers.core.engine import MatchingEngine
from workers.matching.loop import Caution, Loop
from workers.matching.observe import BatchObserver
from workers.metrics import Metrics

REQUEST = encode_request(submit("it", "buy", 1, 1), ttl_ms=1_000, reply_to="edge", correlation=1)


class Ledger:
    """Its second commit takes for ever; it knows whether one is under way."""

    def __init__(self) -> None:
        self.commits = 0
        self.busy = False

    async def renew(self, epoch: int) -> bool:
        return True

    async def ensure_clients(self, client_ids: Any) -> None:
        pass

    async def find_first_orders(self, order_ids: Any, keys: Any) -> list[Any]:
        return []

    def parameters(self, batch: Any, epoch: int) -> list[object]:
        return []

    async def commit(self, parameters: Any) -> None:
        self.commits += 1
        if self.commits == 2:
            self.busy = True
            try:
                await asyncio.sleep(3600)
            finally:
                self.busy = False


class Stream:
    """Gives two entries, one by one; then the third read and the publication end when told to."""

    def __init__(self) -> None:
        self.reads = 0
        self.third_read: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.publication: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.published = asyncio.Event()

    async def read(self, count: int, block_ms: int) -> Any:
        self.reads += 1
        if self.reads == 2:
            await self.published.wait()
        if self.reads == 3:
            return await self.third_read
        return [(f"{self.reads}-0", REQUEST.replace(b"it", b"it%d" % self.reads))]

    def age_us(self, stream_id: str, now_us: int) -> int:
        return 0

    async def check(self, position: str) -> None:
        pass

    async def publish(self, *arguments: Any) -> bool:
        self.published.set()
        return await self.publication


async def test_a_commit_is_never_left_behind() -> None:
    ledger, stream = Ledger(), Stream()
    loop = Loop(
        instrument="BTC-USD",
        engine=MatchingEngine(),
        epoch=1,
        position="0-0",
        last_time_us=0,
        lease_ms=60_000,
        ledger=ledger,  # type: ignore[arg-type]
        stream=stream,  # type: ignore[arg-type]
        clock=lambda: 1,
        caution=Caution(2),
        observer=BatchObserver(Metrics(), "BTC-USD", 1),
    )
    running = asyncio.create_task(loop.run())
    async with asyncio.timeout(5):
        while stream.reads < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        # In this order, in one round of the event loop: the reader fails, and the second commit
        # begins before anybody has heard of it.
        stream.third_read.set_exception(StreamLost("gone"))
        stream.publication.set_result(True)
        with pytest.raises(StreamLost):
            await running
    # Whoever closes its connection now closes it under nobody's feet.
    assert not ledger.busy
