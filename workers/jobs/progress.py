"""How a job tells how far it is, and is told to stop."""

from typing import Protocol


class Progress(Protocol):
    """Called by a job between its steps, as often as it likes: a call costs next to nothing.

    Raises Stopped when the process is told to stop, or when the run is no longer this process's.
    """

    def __call__(self, done: int, total: int | None, detail: str = "") -> None: ...


def no_progress(done: int, total: int | None, detail: str = "") -> None:
    """Tell nobody."""
