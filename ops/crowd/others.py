"""Those who take, and those who wait: noise, momentum, and patient orders far from the touch."""

from math import exp
from random import Random
from typing import Final

from ops.crowd.desk import Decision, Desk
from ops.crowd.terms import Terms
from workers.core.depth import DepthReplica, DepthSide
from workers.core.messages import Side

# A taker leaves at least the rest of what these many levels hold, or the book would run dry.
_LEVELS_SEEN: Final = 20
_SHARE_TAKEN_MAX: Final = 0.25
# Seconds that the two averages of a momentum taker look back, and by how many price steps they
# must differ before it follows.
_FAST_S: Final = 4.0
_SLOW_S: Final = 20.0
_SIGNAL_STEPS: Final = 4.0
_MOMENTUM_POSITION_UNITS_MAX: Final = 60.0
# Patient orders at rest, on average; steps away from the touch follow a power law with this
# exponent, up to a farthest one. M. Zovko and J. D. Farmer, "The power of patience", Quantitative
# Finance 2 (2002), found 1.49 in what they measured.
_PATIENT_RESTING: Final = 140
_PATIENT_EXPONENT: Final = 0.8
_PATIENT_STEPS_MAX: Final = 400
_PATIENT_UNITS: Final = 1.5


def take(
    desk: Desk, client_id: str, side: Side, units: float, book: DepthReplica, terms: Terms
) -> list[Decision]:
    """Return a market order for so many units, or for less where there is little to take."""
    opposite = book.asks if side == "buy" else book.bids
    seen = sum(quantity_lots for _, quantity_lots in opposite.top(_LEVELS_SEEN))
    affordable = int(seen * _SHARE_TAKEN_MAX) // terms.step_lots * terms.step_lots
    quantity = min(terms.quantity(units), affordable)
    return [desk.submit(client_id, side, 0, quantity)] if quantity else []


class Noise:
    """Clients who trade for reasons of their own; few of them make most of the trades."""

    def __init__(self, client_ids: list[str], terms: Terms, random: Random) -> None:
        self._client_ids = client_ids
        self._weights = [1 / (place + 1) for place in range(len(client_ids))]
        self._terms = terms
        self._random = random

    def turn(self, desk: Desk, side: Side, book: DepthReplica) -> list[Decision]:
        """Trade now; quantities are log-normal, many small and a few large."""
        (client_id,) = self._random.choices(self._client_ids, self._weights)
        units = self._random.lognormvariate(-0.3, 1.1)
        return take(desk, client_id, side, units, book, self._terms)


class Momentum:
    """Clients who follow a move while it lasts, and close their position when it is over."""

    def __init__(self, client_ids: list[str], terms: Terms, random: Random) -> None:
        self._client_ids = client_ids
        self._terms = terms
        self._random = random
        self._fast = self._slow = 0.0

    def see(self, mid_ticks: float, seconds: float) -> None:
        """Take note of the price `seconds` after the last look."""
        if not self._slow:
            self._fast = self._slow = mid_ticks
        self._fast += (mid_ticks - self._fast) * (1 - exp(-seconds / _FAST_S))
        self._slow += (mid_ticks - self._slow) * (1 - exp(-seconds / _SLOW_S))

    def turn(self, desk: Desk, book: DepthReplica) -> list[Decision]:
        """Follow, close a part of the position, or do nothing."""
        client_id = self._random.choice(self._client_ids)
        held = desk.positions[client_id] / self._terms.unit_lots
        signal = (self._fast - self._slow) / self._terms.step_ticks
        if abs(signal) >= _SIGNAL_STEPS:
            side: Side = "buy" if signal > 0 else "sell"
            room = _MOMENTUM_POSITION_UNITS_MAX - (held if signal > 0 else -held)
            units = min(room, self._random.lognormvariate(0.3, 0.7))
        else:
            side = "sell" if held > 0 else "buy"
            units = min(abs(held), self._random.lognormvariate(0.3, 0.7))
        if units * self._terms.unit_lots < self._terms.step_lots:
            return []
        return take(desk, client_id, side, units, book, self._terms)


class Patient:
    """Clients who place limit orders away from the touch and take them back some time later.

    Each of them only buys or only sells, so that none meets an order of its own.
    """

    def __init__(self, client_ids: list[str], terms: Terms, random: Random) -> None:
        self._client_ids = client_ids
        self._terms = terms
        self._random = random

    def turn(self, desk: Desk, book: DepthReplica, fair_ticks: float) -> list[Decision]:
        """Place an order, or take one back: the more there are, the more likely."""
        own = [
            order
            for client_id in self._client_ids
            for order in desk.of(client_id)
            if order.resting and not order.cancelling
        ]
        random = self._random
        if random.random() < len(own) / (2 * _PATIENT_RESTING):
            return [desk.cancel(random.choice(own))]
        place = random.randrange(len(self._client_ids))
        side: Side = "sell" if place % 2 else "buy"
        step = self._terms.step_ticks
        sign = 1 if side == "buy" else -1
        # A step better than the touch now and then, where there is room.
        steps = int(min((1 - random.random()) ** (-1 / _PATIENT_EXPONENT), _PATIENT_STEPS_MAX)) - 2
        touch = _best(book.bids if side == "buy" else book.asks) or fair_ticks
        opposite = _best(book.asks if side == "buy" else book.bids)
        price = self._terms.price(touch - sign * steps * step)
        if opposite is not None and sign * (price - opposite) >= 0:
            price = self._terms.price(opposite - sign * step)
        units = _PATIENT_UNITS * random.lognormvariate(0.0, 0.9)
        return [
            desk.submit(self._client_ids[place], side, price, self._terms.quantity(units)),
        ]


def _best(side: DepthSide) -> int | None:
    levels = side.top(1)
    return levels[0][0] if levels else None
