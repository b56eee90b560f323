"""Exact amounts, from text and back."""

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.builders import unhurried
from workers.core.units import (
    UNITS_MAX,
    UNITS_PER_ONE,
    InexactNumber,
    average_price_ticks,
    format_units,
    format_value,
    parse_units,
)

# (text, units)
GOOD = [
    ("0", 0),
    ("1", 100_000_000),
    ("-1", -100_000_000),
    ("70150.5", 7_015_050_000_000),
    ("0.1", 10_000_000),
    ("0.25", 25_000_000),
    ("0.00000001", 1),
    ("-0.00000001", -1),
    ("0.05", 5_000_000),
    ("100", 10_000_000_000),
    ("1000000", 100_000_000_000_000),
    ("12345678901.12345678", 1_234_567_890_112_345_678),
    ("999999999999", 99_999_999_999_900_000_000),
    ("999999999999.99999999", UNITS_MAX),
    ("-999999999999.99999999", -UNITS_MAX),
    # Trailing zeros are not decimals.
    ("1.0", 100_000_000),
    ("0.100000000000", 10_000_000),
    ("0.000000010", 1),
    ("1.00000000000000000000", 100_000_000),
    # Exponents move the point and nothing else.
    ("1e2", 10_000_000_000),
    ("1E2", 10_000_000_000),
    ("1e+2", 10_000_000_000),
    ("1.5e3", 150_000_000_000),
    ("12e-1", 120_000_000),
    ("1e-8", 1),
    ("10e-9", 1),
    ("1e11", 10_000_000_000_000_000_000),
    ("0.000001e17", 10_000_000_000_000_000_000),
    ("123456789012345678900e-10", 1_234_567_890_123_456_789),
    ("120e-2", 120_000_000),
    # Every zero is zero, and none of them is worth computing.
    ("-0", 0),
    ("0.0", 0),
    ("-0.000", 0),
    ("0e999", 0),
    ("0e-999", 0),
    ("0.000000000000", 0),
]

# What a JSON number is not, and what units cannot hold exactly. (what it is, text)
BAD = [
    ("nothing", ""),
    ("a space", " "),
    ("a space before", " 1"),
    ("a space after", "1 "),
    ("a line after", "1\n"),
    ("a word", "one"),
    ("NaN", "NaN"),
    ("nan", "nan"),
    ("Infinity", "Infinity"),
    ("minus Infinity", "-Infinity"),
    ("inf", "inf"),
    ("too large for a double", "1e400"),
    ("too small for a double", "1e-400"),
    ("a leading zero", "01"),
    ("two zeros", "00"),
    ("a leading zero after the sign", "-01"),
    ("a plus", "+1"),
    ("two signs", "--1"),
    ("a bare point", "."),
    ("no digit before the point", ".5"),
    ("no digit after the point", "5."),
    ("two points", "1.2.3"),
    ("no exponent", "1e"),
    ("a signed nothing", "1e+"),
    ("a fractional exponent", "1e1.5"),
    ("an exponent of four digits", "1e0001"),
    ("underscores", "1_000"),
    ("thousands", "1,000"),
    ("a decimal comma", "1,5"),
    ("hexadecimal", "0x10"),
    ("full-width digits", "\uff11\uff12"),
    ("Arabic digits", "\u0661"),
    ("a superscript", "\u00b2"),
    ("a full-width digit among others", "1\uff12"),
    ("a Unicode minus", "\u22121"),
    ("a NUL", "1\x00"),
    ("a lone surrogate", "\ud800"),
    ("a byte order mark", "\ufeff1"),
    ("9 decimals", "0.123456789"),
    ("9 decimals after 8 zeros", "0.000000001"),
    ("9 decimals by exponent", "1e-9"),
    ("13 digits", "1234567890123"),
    ("13 digits by exponent", "1e12"),
    ("13 digits negative", "-1000000000000"),
    ("40 digits", "1" * 40),
    ("41 digits, more than is read", "1" * 41),
    ("a million digits", "1" * 1_000_000),
    ("zeros without end", "0." + "0" * 1_000),
]


@pytest.mark.parametrize(("text", "units"), GOOD)
def test_parse(text: str, units: int) -> None:
    assert parse_units(text) == units


@pytest.mark.parametrize("text", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_what_cannot_be_held_exactly_is_refused(text: str) -> None:
    with pytest.raises(InexactNumber, match="must "):
        parse_units(text)


@pytest.mark.parametrize(
    ("units", "text"),
    [
        (0, "0"),
        (1, "0.00000001"),
        (-1, "-0.00000001"),
        (10, "0.0000001"),
        (10_000_000, "0.1"),
        (30_000_000, "0.3"),
        (25_000_000, "0.25"),
        (100_000_000, "1"),
        (1_000_000_000, "10"),
        (100_000_001, "1.00000001"),
        (7_015_050_000_000, "70150.5"),
        (1_234_567_890_112_345_678, "12345678901.12345678"),
        (UNITS_MAX, "999999999999.99999999"),
        (-UNITS_MAX, "-999999999999.99999999"),
    ],
)
def test_format(units: int, text: str) -> None:
    assert format_units(units) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "0.0000000000000001"),
        (10**16, "1"),
        (-(10**16) - 10**15, "-1.1"),
        (12 * 10**39, "1200000000000000000000000"),
        (UNITS_MAX**2, "999999999999999999980000.0000000000000001"),
    ],
)
def test_format_value(value: int, text: str) -> None:
    assert format_value(value) == text


def str_of(amount: int, decimals: int) -> str:
    """Return what the decimal module makes of amount / 10**decimals, without trailing zeros."""
    with localcontext(prec=60):
        return f"{(Decimal(amount).scaleb(-decimals)).normalize():f}"


anything = st.integers(-UNITS_MAX, UNITS_MAX)


@unhurried
@given(anything)
@example(UNITS_MAX)
def test_format_then_parse_gives_the_same(units: int) -> None:
    text = format_units(units)
    assert parse_units(text) == units
    assert text == str_of(units, 8)


@unhurried
@given(
    sign=st.sampled_from(["", "-"]),
    whole=st.integers(0, 10**13).map(str),
    fraction=st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=10)),
    exponent=st.one_of(st.none(), st.integers(-12, 12)),
)
def test_parse_agrees_with_decimal(
    sign: str, whole: str, fraction: str, exponent: int | None
) -> None:
    text = sign + whole + (f".{fraction}" if fraction else "")
    text += "" if exponent is None else f"e{exponent}"
    expected = Fraction(Decimal(text)) * UNITS_PER_ONE
    if expected.denominator == 1 and abs(expected) <= UNITS_MAX:
        assert parse_units(text) == expected
    else:
        with pytest.raises(InexactNumber):
            parse_units(text)


@unhurried
@given(st.text(max_size=45))
def test_any_text_is_a_number_or_refused(text: str) -> None:
    try:
        units = parse_units(text)
    except InexactNumber:
        return
    assert text.isascii()
    assert Decimal(text) * UNITS_PER_ONE == units


@pytest.mark.parametrize(
    ("value", "quantity_lots", "ticks"),
    [
        (100, 1, 100),
        (603, 6, 100),  # 100.5, to even
        (609, 6, 102),  # 101.5, to even
        (604, 6, 101),
        (602, 6, 100),
        (1, 3, 0),
        (2, 3, 1),
        (1, 2, 0),
        (3, 2, 2),
        (5, 2, 2),
        (UNITS_MAX**2, UNITS_MAX, UNITS_MAX),
    ],
)
def test_average_price_rounds_half_to_even(value: int, quantity_lots: int, ticks: int) -> None:
    assert average_price_ticks(value, quantity_lots) == ticks


@unhurried
@given(value=st.integers(0, UNITS_MAX**2), quantity_lots=st.integers(1, UNITS_MAX))
@example(value=5 * 10**19, quantity_lots=10**20 - 2)
def test_average_price_agrees_with_fractions(value: int, quantity_lots: int) -> None:
    assert average_price_ticks(value, quantity_lots) == round(Fraction(value, quantity_lots))


@unhurried
@given(ticks=st.integers(0, 1_000), quantity_lots=st.integers(1, 50).map(lambda half: 2 * half))
def test_average_price_of_an_exact_half(ticks: int, quantity_lots: int) -> None:
    value = ticks * quantity_lots + quantity_lots // 2
    assert average_price_ticks(value, quantity_lots) == round(Fraction(value, quantity_lots))
    assert average_price_ticks(value, quantity_lots) % 2 == 0
