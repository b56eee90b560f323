"""Rates of counts that only rise, over the last seconds. Pure: time is told."""

from collections import deque
from collections.abc import Mapping
from typing import Final

WINDOW_S: Final = 5.0


class Rates:
    """Samples of counts; a rate is between the oldest sample of the window and the newest."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, Mapping[str, int]]] = deque()

    def sample(self, now: float, counts: Mapping[str, int]) -> None:
        """Take note of the counts at `now`, in seconds."""
        self._samples.append((now, counts))
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._window_s:
            self._samples.popleft()

    def per_second(self, name: str) -> float:
        """Return the rate of a count; 0 before there are two samples."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last[name] - first[name]) / (ended - began) if ended > began else 0.0
