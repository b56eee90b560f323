"""Arrivals that excite each other: a multivariate Hawkes process, simulated exactly."""

from collections.abc import Sequence
from math import exp
from random import Random


class Hawkes:
    """Yields the arrivals of several kinds, one by one, in the order of time.

    The intensity of kind i (arrivals per second) is

        baseline[i] + sum over past arrivals, of kind j at s:
            branching[i][j] * decay * exp(-decay * (t - s))

    so `branching[i][j]` is how many arrivals of kind i one of kind j causes on average, and mean
    rates are (I - branching)^-1 baseline (A. G. Hawkes, "Spectra of some self-exciting and mutually
    exciting point processes", Biometrika 58, 1971). Simulated by thinning, as in Y. Ogata, "On
    Lewis' simulation method for point processes", IEEE Transactions on Information Theory 27
    (1981): between arrivals the intensity only falls, so its value now bounds what comes. That is
    exact, not a discretization.
    """

    def __init__(
        self,
        random: Random,
        baseline: Sequence[float],
        branching: Sequence[Sequence[float]],
        decay: float,
    ) -> None:
        self._random = random
        self._baseline = baseline
        # By the kind that excites: what one arrival of it adds to the intensity of each kind.
        self._jumps = [[row[j] * decay for row in branching] for j in range(len(baseline))]
        self._decay = decay
        self._excitement = [0.0] * len(baseline)
        self._time = 0.0

    def intensities(self) -> list[float]:
        """Return the intensity of each kind right after the last arrival, per second."""
        return [base + more for base, more in zip(self._baseline, self._excitement, strict=True)]

    def next(self) -> tuple[float, int]:
        """Return the time, in seconds from the start, and the kind of the next arrival."""
        random = self._random
        base, excited = sum(self._baseline), sum(self._excitement)
        elapsed = 0.0
        while True:
            bound = base + excited * exp(-self._decay * elapsed)
            elapsed += random.expovariate(bound)
            fallen = exp(-self._decay * elapsed)
            if random.random() * bound <= base + excited * fallen:
                break
        self._time += elapsed
        self._excitement = [more * fallen for more in self._excitement]
        (kind,) = random.choices(range(len(self._baseline)), self.intensities())
        self._excitement = [
            more + jump for more, jump in zip(self._excitement, self._jumps[kind], strict=True)
        ]
        return self._time, kind


def baseline_for(rates: Sequence[float], branching: Sequence[Sequence[float]]) -> list[float]:
    """Return the baseline (I - branching) rates, with which the mean rates come out as `rates`."""
    return [
        rate - sum(share * other for share, other in zip(row, rates, strict=True))
        for rate, row in zip(rates, branching, strict=True)
    ]
