"""Types of command line arguments: each turns a text into a value or says what is wrong with it."""

import argparse
from datetime import date
from decimal import Decimal, InvalidOperation


def amount(text: str) -> Decimal:
    """Return an exact number."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


def amount_above_zero(text: str) -> Decimal:
    """Return an exact number above zero."""
    try:
        number = amount(text)
    except argparse.ArgumentTypeError:
        number = Decimal(0)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


def day(text: str) -> date:
    """Return a calendar day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day: write YYYY-MM-DD") from None
