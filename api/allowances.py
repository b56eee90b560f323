"""What one process may allow by itself while those who ask are far from their limits."""

import math
from collections import Counter
from collections.abc import Sequence

from workers.adapters.limits import Verdict

# Below this share of an allowance, Redis decides every request.
NEAR = 0.1
# What a process allows by itself before it tells Redis: a hundredth of the allowance. By as much
# as this, per process, may a limit be exceeded; small limits are exact.
UNTOLD_SHARE = 100
# How long what Redis said of a key is good for. What others take meanwhile is learned at the next
# telling.
FRESH_US = 10_000_000
# Keys remembered; beyond, all are forgotten, and each asks Redis once.
KEYS_MAX = 50_000


class Allowances:
    """Copies of allowances that Redis holds (limit.lua), and what was taken without telling it.

    Times are microseconds of a clock that never goes back.
    """

    def __init__(self, window_us: int, requests_max: int) -> None:
        self._window_us = window_us
        self._interval_us = window_us / requests_max
        self._near_us = window_us * (1 - NEAR)
        self._untold_max = requests_max // UNTOLD_SHARE
        # By key: when the allowance is whole again, and until when this is good.
        self._known: dict[str, tuple[float, float]] = {}
        self._untold: Counter[str] = Counter()

    def take(self, keys: Sequence[str], cost: int, now_us: float) -> Verdict | None:
        """Take `cost` requests from every key; None, with nothing taken, when Redis must decide."""
        price_us = cost * self._interval_us
        full_at_us = now_us
        for key in keys:
            known = self._known.get(key)
            if known is None or known[1] < now_us or self._untold[key] + cost > self._untold_max:
                return None
            full_at_us = max(full_at_us, known[0])
        reset_us = full_at_us + price_us - now_us
        if reset_us > self._near_us:
            return None
        for key in keys:
            key_full_at_us, good_until_us = self._known[key]
            self._known[key] = (max(key_full_at_us, now_us) + price_us, good_until_us)
            self._untold[key] += cost
        remaining = int((self._window_us - reset_us) / self._interval_us)
        return Verdict(True, remaining, math.ceil(reset_us), 0)

    def learn(self, keys: Sequence[str], verdict: Verdict, now_us: float) -> None:
        """Remember what Redis said of these keys. Of several, the scarcest spoke."""
        if len(self._known) > KEYS_MAX:
            self._known.clear()
        for key in keys:
            full_at_us = now_us + verdict.reset_us + self._untold[key] * self._interval_us
            self._known[key] = (full_at_us, now_us + FRESH_US)

    def untold(self) -> list[tuple[str, int]]:
        """Return what was taken of each key since the last call."""
        taken, self._untold = self._untold, Counter()
        return [(key, cost) for key, cost in taken.items() if cost]
