"""Exact amounts: decimal text to integers and back, never through a binary float.

One tick is 0.00000001 of quote asset per base asset and one lot is 0.00000001 of base asset, for
every instrument and for ever. An instrument's `tick_size` and `lot_size` say of how many ticks and
lots its prices and quantities must be a multiple; they may change while orders rest, because no
stored or queued integer changes its meaning with them.
A value (price times quantity) is an integer of 1e-16 quote asset.
"""

import re
from functools import lru_cache
from typing import Final

DECIMALS: Final = 8
UNITS_PER_ONE: Final = 10**DECIMALS
# 12 digits before the point and 8 after it: the range of the public API.
UNITS_MAX: Final = 10**20 - 1
VALUE_PER_UNIT: Final = 10**8

# Longer numbers are refused unread: 12 digits, a point, 8 decimals and room for a written exponent.
_TEXT_LENGTH_MAX: Final = 40
# ASCII digits only: int() and Decimal() would also take full-width digits and underscores.
_NUMBER: Final = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?")


class InexactNumber(ValueError):
    """Raised when a text is not a decimal number, or not one that units can hold exactly."""


@lru_cache(maxsize=16_384)  # the same few prices and quantities come again and again
def parse_units(text: str) -> int:
    """Return `text` (a JSON number: `70150.5`, `1e2`, `-3`) in units of 1e-8, exactly.

    Raises InexactNumber for anything else, for more than 8 decimals and for more than 12 digits
    before the point. Trailing zeros are not decimals: `0.100000000000` is `0.1`.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= _TEXT_LENGTH_MAX else None
    if match is None:
        raise InexactNumber("must be a decimal number")
    sign, whole, fraction, exponent = match.groups(default="")
    digits = (whole + fraction).rstrip("0")
    # The value is int(digits) * 10**power, in units of 1e-8.
    power = len(whole) - len(digits) + int(exponent or 0) + DECIMALS
    if digits.strip("0") == "":
        return 0
    if power < 0:
        raise InexactNumber(f"must have at most {DECIMALS} decimals")
    if len(digits.lstrip("0")) + power > 12 + DECIMALS:
        raise InexactNumber("must have at most 12 digits before the point")
    units: int = int(digits) * 10**power
    return -units if sign else units


def format_units(units: int) -> str:
    """Return units of 1e-8 as the shortest exact decimal text: `70150.5`, `0.25`, `1`."""
    return _format(units, UNITS_PER_ONE, DECIMALS)


def format_value(value: int) -> str:
    """Return units of 1e-16 as the shortest exact decimal text."""
    return _format(value, 10**16, 16)


def average_price_ticks(value: int, quantity_lots: int) -> int:
    """Return value / quantity rounded half to even to a whole tick (8 decimals)."""
    return divide_half_even(value, quantity_lots)


def divide_half_even(dividend: int, divisor: int) -> int:
    """Return the quotient rounded half to even to a whole number. Either may be negative."""
    if divisor < 0:
        dividend, divisor = -dividend, -divisor
    quotient, remainder = divmod(dividend, divisor)
    twice = 2 * remainder
    if twice > divisor or (twice == divisor and quotient & 1):
        quotient += 1
    return quotient


def _format(amount: int, one: int, decimals: int) -> str:
    if amount < 0:
        return "-" + _format(-amount, one, decimals)
    whole, fraction = divmod(amount, one)
    if fraction == 0:
        return str(whole)
    return f"{whole}.{fraction:0{decimals}d}".rstrip("0")
