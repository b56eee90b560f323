"""Coroutines that live and die together, also those that will not listen."""

import asyncio
import contextlib

import pytest

from workers.matching.together import end, run_together


async def fails(after_s: float = 0.01) -> None:
    await asyncio.sleep(after_s)
    raise ValueError("the first")


async def test_all_return() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(0.01 * number)
        done.append(number)

    await run_together(work(2), work(1))
    assert done == [1, 2]


async def test_one_that_swallows_its_cancel_is_ended_all_the_same() -> None:
    """As drivers do whose `wait_for` has just got its answer: they go on with the next round."""
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    async with asyncio.timeout(5):
        with pytest.raises(ValueError, match="the first"):
            await run_together(deaf(), fails())
    assert swallowed == 3


async def test_the_first_failure_is_the_one_that_tells() -> None:
    async def fails_when_ended() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise KeyError("because it was ended")

    with pytest.raises(ValueError, match="the first"):
        await run_together(fails_when_ended(), fails())


async def test_whoever_waits_may_be_cancelled() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.set()

    task = asyncio.create_task(run_together(work()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_nobody_leaves_a_task_behind_that_takes_its_time_to_end() -> None:
    """As a commit does: the driver asks the server to give up, and waits for its answer."""
    ended = False

    async def slow() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            for _ in range(20):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            ended = True
            raise

    async def leaves() -> None:
        task = asyncio.create_task(slow())
        try:
            await asyncio.sleep(10)
        finally:
            await end(task)
            assert ended

    # Cancelled again and again meanwhile.
    leaving = asyncio.create_task(leaves())
    await asyncio.sleep(0.01)
    while not leaving.done():
        leaving.cancel()
        await asyncio.wait([leaving], timeout=0.02)
    assert leaving.cancelled()
    assert ended
