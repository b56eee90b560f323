"""Work that many may ask for at once, done once at a time for all who wait."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Turns(Generic[Result]):
    """Runs `work` once at a time per key, however many ask.

    Who asks while it runs gets the result of the next run, not of this one: that may have looked
    before whatever made them ask.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[Result]] = {}
        self._next: dict[Hashable, asyncio.Task[Result]] = {}

    async def take(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Return the result of a run that begins now or later. Raises what it raises."""
        task = self._next.get(key)
        if task is None:
            running = self._running.get(key)
            task = asyncio.create_task(self._run(key, work, running))
            task.add_done_callback(_seen)  # whoever asked may be gone when it fails
            (self._running if running is None else self._next)[key] = task
        # One caller who goes away must not take the result from the others.
        return await asyncio.shield(task)

    async def _run(
        self,
        key: Hashable,
        work: Callable[[], Coroutine[Any, Any, Result]],
        before: "asyncio.Task[Result] | None",
    ) -> Result:
        if before is not None:
            await asyncio.wait([before])
            self._running[key] = self._next.pop(key)
        try:
            return await work()
        finally:
            if key not in self._next:
                del self._running[key]


def _seen(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
