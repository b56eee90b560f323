"""A market maker: quotes on both sides around the fair price, shifted against what it holds."""

from random import Random
from typing import Final

from ops.crowd.desk import Decision, Desk, Own
from ops.crowd.terms import Terms
from workers.core.messages import Side

# Price steps between the fair price and the nearest quote in a calm market; makers differ.
_HALF_SPREADS: Final = (1.2, 1.8, 2.6, 3.4)
# How much of a second's volatility is added to that.
_CAUTION: Final = 0.2
# Levels per side, and how much farther apart each is than the one before it.
_LEVELS: Final = 7
_GAP_GROWTH: Final = 1.55
# Units quoted nearest to the fair price, and how much more is offered on each level behind.
_UNITS: Final = 2.0
_UNITS_GROWTH: Final = 1.45
# Units at which the quotes are shifted by `_SKEW_STEPS_MAX` against the position.
_POSITION_UNITS_MAX: Final = 150.0
_SKEW_STEPS_MAX: Final = 6.0


class Maker:
    """One maker. Each turn is at most two commands: a stale quote goes, a missing one comes.

    Quotes are centred on the reservation price of M. Avellaneda and S. Stoikov, "High-frequency
    trading in a limit order book", Quantitative Finance 8 (2008), in its simplest form: linear in
    the position. A maker never quotes at or through a quote of its own that may still be there.
    """

    def __init__(self, client_id: str, place: int, terms: Terms, random: Random) -> None:
        self.client_id = client_id
        self._half_spread = _HALF_SPREADS[place % len(_HALF_SPREADS)]
        self._terms = terms
        self._random = random

    def turn(self, desk: Desk, fair_ticks: float, volatility: float) -> list[Decision]:
        """Decide what to change now that the fair price is this."""
        sides: list[Side] = ["buy", "sell"]
        self._random.shuffle(sides)
        own = desk.of(self.client_id)
        plans = [self._plan(side, own, desk, fair_ticks, volatility) for side in sides]
        # The side on which more is wrong comes first; of what is as it should be, one is renewed.
        wrong = max(plans, key=lambda plan: len(plan[0]) + len(plan[1]))
        stale, missing, side = wrong
        if not stale and not missing:
            quotes = [quote for quote in own if quote.resting and not quote.cancelling]
            return [desk.cancel(self._random.choice(quotes))] if quotes else []
        decisions: list[Decision] = []
        if stale:
            decisions.append(desk.cancel(stale[0]))
        if missing:
            level, price_ticks = missing[0]
            if not _crosses(own, side, price_ticks):
                decisions.append(
                    desk.submit(self.client_id, side, price_ticks, self._quantity(level))
                )
        return decisions

    def targets(
        self, side: Side, desk: Desk, fair_ticks: float, volatility: float
    ) -> list[tuple[float, float]]:
        """Return where quotes should be, best first: ticks, and how far off one may be."""
        step = self._terms.step_ticks
        held = desk.positions[self.client_id] / (self._terms.unit_lots * _POSITION_UNITS_MAX)
        centre = fair_ticks - max(-1.0, min(1.0, held)) * _SKEW_STEPS_MAX * step
        distance = self._half_spread * step + _CAUTION * volatility * fair_ticks
        gap, found = float(step), []
        for _ in range(_LEVELS):
            found.append((centre - distance if side == "buy" else centre + distance, gap * 0.75))
            distance += gap
            gap *= _GAP_GROWTH
        return found

    def _plan(
        self, side: Side, own: list[Own], desk: Desk, fair_ticks: float, volatility: float
    ) -> tuple[list[Own], list[tuple[int, int]], Side]:
        """Return quotes to cancel, the worst first, and (level, price) to quote, the best first."""
        sign = 1 if side == "buy" else -1
        quotes = [quote for quote in own if quote.side == side and not quote.cancelling]
        quotes.sort(key=lambda quote: -sign * quote.price_ticks)
        missing: list[tuple[int, int]] = []
        targets = self.targets(side, desk, fair_ticks, volatility)
        for level, (target, tolerance) in enumerate(targets):
            near = [quote for quote in quotes if abs(quote.price_ticks - target) <= tolerance]
            if near:
                quotes.remove(near[0])
            else:
                missing.append((level, self._terms.price(target)))
        # Best first: what is too good a price is picked off by others, so it goes first; of those
        # that are too far away the farthest goes first.
        stale = [quote for quote in quotes if quote.resting]
        if stale and sign * (stale[0].price_ticks - targets[0][0]) <= 0:
            stale.reverse()
        return stale, missing, side

    def _quantity(self, level: int) -> int:
        units = _UNITS * _UNITS_GROWTH**level * self._random.lognormvariate(0.0, 0.4)
        return self._terms.quantity(units)


def _crosses(own: list[Own], side: Side, price_ticks: int) -> bool:
    """Tell whether an order would meet one of these on the other side."""
    if side == "buy":
        return any(quote.side == "sell" and quote.price_ticks <= price_ticks for quote in own)
    return any(quote.side == "buy" and quote.price_ticks >= price_ticks for quote in own)
