"""Places where a process can be told to fail, to test what comes of it.

Every call that leaves a process has two: `<thing>.<method>.before` and `<thing>.<method>.after`.
They are armed by EXCHANGE_FAILPOINTS, as in

    EXCHANGE_FAILPOINTS="ledger.commit.after=kill@3,stream.publish.before=delay:200"

* `kill`: SIGKILL to ourselves.
* `freeze`: SIGSTOP; whoever armed it sends SIGCONT.
* `error`: as if the server had failed, certainly nothing done before a call, unknown after it.
* `delay:MS`: wait.

`@N` lets only the N-th time fail. Where nothing is armed nothing is in the way: `around` returns
the very object it was given.
"""

import asyncio
import inspect
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Self, TypeVar, cast

from workers.adapters.errors import OutcomeUnknown, Unavailable
from workers.settings import SettingsError

VARIABLE = "EXCHANGE_FAILPOINTS"

# What can be armed: the things that processes hold, and their calls to the outside.
CALLS: dict[str, tuple[str, ...]] = {
    # of the matcher
    "shards": ("report", "instruments", "retire"),
    "ledger": (
        "acquire", "load_open_orders", "ensure_clients", "find_first_orders", "commit", "renew",
        "release", "engine_snapshots", "load_snapshot", "changes_since", "discard_snapshots",
    ),
    "stream": ("open", "read", "check", "publish", "publish_depth"),
    # of the edge
    "writer": ("append",),
    "lookups": ("migrated", "instruments", "orders", "order", "order_trades", "changes"),
    "reader": ("snapshot", "ping"),
    "publisher": ("publish",),
    "limits": ("check",),
    # of jobs and their clock
    "jobs": ("register", "hint_due", "claim", "renew", "finish"),
    "messages": ("has_room", "send"),
    # of the mirror, which is one of the jobs
    "mirror": ("begin", "read", "store", "end"),
    "kafka": ("publish",),
}  # fmt: skip
POINTS = tuple(
    f"{thing}.{call}.{moment}"
    for thing, calls in CALLS.items()
    for call in calls
    for moment in ("before", "after")
)

_ENTRY = re.compile(r"([a-z_.]+)=(kill|freeze|error|delay:(\d{1,6}))(?:@(\d{1,9}))?")

Thing = TypeVar("Thing")


class Action(NamedTuple):
    """What an armed point does, and at which time (0: each time)."""

    kind: str
    delay_s: float
    at: int


class Failpoints:
    """The armed points of this process."""

    def __init__(self, actions: Mapping[str, Action] | None = None) -> None:
        self._actions = dict(actions or {})
        self._times: Counter[str] = Counter()

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read what is armed. Raises SettingsError."""
        text = env.get(VARIABLE, "")
        if text and env.get("EXCHANGE_ENV", "").lower() == "production":
            raise SettingsError(f"{VARIABLE} makes the exchange fail: unset it in production")
        actions = {}
        for entry in filter(None, text.replace(",", " ").split()):
            match = _ENTRY.fullmatch(entry)
            if match is None or match[1] not in POINTS:
                raise SettingsError(
                    f"{VARIABLE} must hold THING.CALL.before|after=kill|freeze|error|delay:MS, "
                    f"each with @N or without, not {entry!r}"
                )
            kind = match[2].partition(":")[0]
            actions[match[1]] = Action(kind, int(match[3] or 0) / 1000, int(match[4] or 0))
        return cls(actions)

    def around(self, name: str, thing: Thing) -> Thing:
        """Return `thing`, which goes by `name` here, with its armed points."""
        if not any(point.startswith(f"{name}.") for point in self._actions):
            return thing
        return cast(Thing, _Guarded(name, thing, self))

    async def reach(self, point: str) -> None:
        """Do what is armed at a point. Raises Unavailable, OutcomeUnknown."""
        delay_s = self._reach(point)
        if delay_s:
            await asyncio.sleep(delay_s)

    def reach_in_thread(self, point: str) -> None:
        """Do the same where nothing is asynchronous."""
        time.sleep(self._reach(point))

    def _reach(self, point: str) -> float:
        """Do what is armed at a point; return how long to wait there."""
        action = self._actions.get(point)
        if action is None:
            return 0.0
        self._times[point] += 1
        if action.at and self._times[point] != action.at:
            return 0.0
        if action.kind == "delay":
            return action.delay_s
        if action.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action.kind == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif point.endswith(".before"):
            raise Unavailable(f"failpoint {point}")
        else:
            raise OutcomeUnknown(f"failpoint {point}")
        return 0.0


class _Guarded:
    """Stands in for a thing and passes its failpoints on the way in and out."""

    def __init__(self, name: str, thing: object, failpoints: Failpoints) -> None:
        self._name = name
        self._thing = thing
        self._failpoints = failpoints

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if name not in CALLS[self._name]:
            return found
        before, after = (f"{self._name}.{name}.{moment}" for moment in ("before", "after"))
        failpoints = self._failpoints
        if not inspect.iscoroutinefunction(found):

            def guarded_in_thread(*args: Any, **kwargs: Any) -> Any:
                failpoints.reach_in_thread(before)
                result = found(*args, **kwargs)
                failpoints.reach_in_thread(after)
                return result

            return guarded_in_thread
        call: Callable[..., Awaitable[Any]] = found

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            await failpoints.reach(before)
            result = await call(*args, **kwargs)
            await failpoints.reach(after)
            return result

        return guarded
