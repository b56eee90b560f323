"""What a job is: a name, a period, and a plain function."""

from collections.abc import Callable
from typing import NamedTuple

from workers.adapters.jobs import Connection, Period
from workers.core.instruments import Instrument
from workers.jobs.progress import Progress
from workers.metrics import Metrics
from workers.settings import Settings


class Context(NamedTuple):
    """What a run works with. `instrument` is None for a job that is not one of the instruments."""

    connection: Connection
    settings: Settings
    metrics: Metrics
    progress: Progress
    instrument: Instrument | None


class Result(NamedTuple):
    """What a run has come to, in words; and after how long it goes on, when there is more to do
    than its period would allow.
    """

    detail: str = ""
    again_ms: int | None = None


class Job(NamedTuple):
    """A kind of background work.

    The function may be ended between any two of its statements, and may run twice: it does its work
    in steps that are each safe to repeat, and calls `context.progress` between them.
    """

    name: str
    queue: str
    period: Period
    work: Callable[[Context], Result]
    # One run per instrument, each on its own, or one for all.
    per_instrument: bool = False
    # A run that takes longer is ended and fails.
    time_limit_ms: int = 600_000
