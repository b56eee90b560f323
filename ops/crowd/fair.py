"""The price that market makers believe in: a random walk whose volatility changes."""

from math import exp, log, sqrt
from random import Random
from typing import Final

# Per square root of a second: about 28 % a year, as of a coin in a quiet month. In a second it is a
# few price steps: more would outrun the makers.
_VOLATILITY: Final = 5.0e-5
# The logarithm of the volatility wanders around its mean with this deviation, and comes back in
# this time: there are quiet minutes and wild ones.
_VOLATILITY_SPREAD: Final = 0.55
_VOLATILITY_RETURN_S: Final = 240.0
# The price comes back to where it started in hours, so that a market left alone for days is sane.
_RETURN_S: Final = 4 * 3_600.0
# What a trade of one unit moves, and what any trade can.
_IMPACT: Final = 2.0e-6
_IMPACT_MAX: Final = 1.0e-3


class FairPrice:
    """A price in ticks, advanced in time and moved by trades.

    Its logarithm is an Ornstein-Uhlenbeck process, and so is the logarithm of that one's volatility
    (the model of L. O. Scott, "Option pricing when the variance changes randomly", 1987); steps of
    any length are drawn from the exact transition of the volatility, and with it held for the step.
    """

    def __init__(self, random: Random, price_ticks: int, anchor_ticks: int) -> None:
        self._random = random
        self._anchor = log(anchor_ticks)
        self._log_price = log(price_ticks)
        self._mood = random.gauss(0.0, _VOLATILITY_SPREAD)

    @property
    def price_ticks(self) -> float:
        """The price now; no money, so not an integer."""
        return exp(self._log_price)

    @property
    def volatility(self) -> float:
        """The volatility now, per square root of a second, as a share of the price."""
        return _VOLATILITY * exp(self._mood - _VOLATILITY_SPREAD**2 / 2)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        gauss = self._random.gauss
        kept = exp(-seconds / _VOLATILITY_RETURN_S)
        self._mood = self._mood * kept + _VOLATILITY_SPREAD * sqrt(1 - kept**2) * gauss(0.0, 1.0)
        kept = exp(-seconds / _RETURN_S)
        self._log_price = (
            self._anchor
            + (self._log_price - self._anchor) * kept
            + self.volatility * sqrt(seconds) * gauss(0.0, 1.0)
        )

    def trade(self, taker_buys: bool, units: float) -> None:
        """Move with a trade: somebody may have known something."""
        impact = min(_IMPACT * units, _IMPACT_MAX)
        self._log_price += impact if taker_buys else -impact
