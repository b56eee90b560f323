"""However many ask at once, the work is done once at a time, and nobody gets an old result."""

import asyncio

import pytest

from api.turns import Turns


class Work:
    """Counts its runs; each ends when it is told to, with its number."""

    def __init__(self) -> None:
        self.ends: list[asyncio.Future[None]] = []

    async def __call__(self) -> int:
        number = len(self.ends)
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        await end
        return number


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_meanwhile_shares_the_next_run() -> None:
    turns, work = Turns[int](), Work()
    first = asyncio.create_task(turns.take("a", work))
    await settle()
    waiting = [asyncio.create_task(turns.take("a", work)) for _ in range(5)]
    other = asyncio.create_task(turns.take("b", work))
    await settle()
    assert len(work.ends) == 2, "a's first, and b's"
    waiting.pop().cancel()  # who goes away takes the result from nobody
    work.ends[0].set_result(None)
    assert await first == 0
    await settle()
    late = asyncio.create_task(turns.take("a", work))
    await settle()
    assert len(work.ends) == 3
    work.ends[2].set_result(None)
    assert await asyncio.gather(*waiting) == [2] * 4
    await settle()
    work.ends[1].set_result(None)
    work.ends[3].set_result(None)
    assert (await other, await late) == (1, 3)


async def test_a_run_that_fails_ends_only_its_own() -> None:
    turns, work = Turns[int](), Work()
    first = asyncio.create_task(turns.take("a", work))
    await settle()
    second = asyncio.create_task(turns.take("a", work))
    await settle()
    work.ends[0].set_exception(RuntimeError("away"))
    with pytest.raises(RuntimeError):
        await first
    await settle()
    work.ends[1].set_result(None)
    assert await second == 1
    # Nothing is left behind: the next one runs at once.
    third = asyncio.create_task(turns.take("a", work))
    await settle()
    work.ends[2].set_result(None)
    assert await third == 2
