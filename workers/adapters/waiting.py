"""Bounded waits for servers that may have fallen silent."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from workers.adapters.errors import OutcomeUnknown

Result = TypeVar("Result")


async def within(seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `work`. Raises what it raises, or OutcomeUnknown when the time is up.

    The work is not cancelled then, only left alone: to cancel a question to a server that is silent
    waits for that server, too.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.add_done_callback(_seen)
    if not done:
        raise OutcomeUnknown(f"no answer in {seconds:g} s")
    return task.result()


def _seen(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
