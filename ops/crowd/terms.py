"""What participants reckon in for an instrument: its steps, a usual quantity, where it starts."""

from typing import Final, NamedTuple

from workers.core.units import UNITS_PER_ONE

# Where an instrument starts that has never traded, in its quote asset; another one at 100.
START: Final = {"BTC-USD": 70_000, "ETH-USD": 3_500, "SOL-USD": 150}
START_DEFAULT: Final = 100
# A unit is worth about so much of the quote asset: the middle trade.
UNIT_VALUE: Final = 1_000
# A price step is at most this part of the price, and a quantity step at most this part of a unit.
_STEPS_PER_PRICE: Final = 50_000
_STEPS_PER_UNIT: Final = 100


class Terms(NamedTuple):
    """Prices are multiples of `step_ticks`, quantities of `step_lots`; a unit is `unit_lots`.

    `start_ticks` is where the price begins, `anchor_ticks` what it comes back to.
    """

    instrument: str
    step_ticks: int
    step_lots: int
    unit_lots: int
    start_ticks: int
    anchor_ticks: int

    @classmethod
    def of(
        cls,
        instrument: str,
        tick_size_ticks: int,
        lot_size_lots: int,
        last_ticks: int | None = None,
        anchor_ticks: int | None = None,
    ) -> "Terms":
        """Choose terms that the instrument's tick and lot allow.

        It goes on from the last trade, unless that is so far off (a fifth) that it says nothing.
        """
        anchor = anchor_ticks or START.get(instrument, 0) * UNITS_PER_ONE
        anchor = anchor or last_ticks or START_DEFAULT * UNITS_PER_ONE
        start = min(max(last_ticks or anchor, anchor * 4 // 5), anchor * 6 // 5)
        unit = max(1, UNIT_VALUE * UNITS_PER_ONE * UNITS_PER_ONE // anchor)
        step_lots = _multiple(_round(unit // _STEPS_PER_UNIT), lot_size_lots)
        return cls(
            instrument=instrument,
            step_ticks=_multiple(_round(anchor // _STEPS_PER_PRICE), tick_size_ticks),
            step_lots=step_lots,
            unit_lots=_multiple(unit, step_lots),
            start_ticks=start,
            anchor_ticks=anchor,
        )

    def price(self, ticks: float) -> int:
        """Return the nearest price that may be asked for; above zero."""
        return max(1, round(ticks / self.step_ticks)) * self.step_ticks

    def quantity(self, units: float) -> int:
        """Return the nearest quantity that may be asked for; above zero."""
        return max(1, round(units * self.unit_lots / self.step_lots)) * self.step_lots


def _round(number: int) -> int:
    """Return the largest of 1, 2, 5, 10, 20, 50, ... that is not above the number, at least 1."""
    power = int("1" + "0" * (len(str(max(1, number))) - 1))
    return next(digit * power for digit in (5, 2, 1) if digit * power <= max(1, number))


def _multiple(number: int, of: int) -> int:
    """Return the nearest multiple, at least one."""
    return max(1, (number + of // 2) // of) * of
