"""Coroutines that live and die together."""

import asyncio
from collections.abc import Coroutine
from typing import Any

# Before a task that did not end is cancelled once more.
CANCEL_AGAIN_S = 0.1


async def run_together(*works: Coroutine[Any, Any, None]) -> None:
    """Run until all have returned, or one raises: then end the others, and raise it.

    A task group would do, if one cancel always sufficed. But drivers wait with `asyncio.wait_for`,
    which in Python 3.11 swallows a cancel that arrives together with the answer. The task goes on
    then, and the group waits for it for ever: a matcher that lost its commit would go on renewing
    its lease, and nobody could take over.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = [task for task in tasks if task.done() and not task.cancelled()]
        errors = [error for task in failed if (error := task.exception()) is not None]
    finally:
        await _end(tasks)
    if errors:
        raise errors[0]


async def end(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it has ended, also when we are cancelled meanwhile."""
    cancelled = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()  # seen
    if cancelled is not None:
        raise cancelled


async def _end(tasks: "list[asyncio.Task[None]]") -> None:
    """Cancel what still runs, again and again until it has ended."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: the first failure is the one that tells
