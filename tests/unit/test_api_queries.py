"""Times and cursors as clients write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursors import decode_cursor, encode_cursor
from api.errors import ApiError, public_error
from api.queries import TIME_US_MAX, parse_time
from tests.builders import unhurried
from workers.adapters.errors import TimedOut
from workers.core.records import OrderPlace

MIDNIGHT_US = 1_704_067_200_000_000
HOUR_US = 3_600_000_000

TIMES = {
    "2024-01-01": MIDNIGHT_US,
    "2024-01-01T00:00": MIDNIGHT_US,
    "2024-01-01 00:00": MIDNIGHT_US,
    "2024-01-01t00:00:00z": MIDNIGHT_US,
    "2024-01-01T01:30:00": MIDNIGHT_US + 3 * HOUR_US // 2,
    "2024-01-01T00:00:00.5Z": MIDNIGHT_US + 500_000,
    "2024-01-01T00:00:00,123456789Z": MIDNIGHT_US + 123_456,
    "2024-01-01T02:00:00+02:00": MIDNIGHT_US,
    "2024-01-01T02:00:00 02:00": MIDNIGHT_US,
    "2024-01-01T02:00:00+0200": MIDNIGHT_US,
    "2023-12-31T19:00:00-05:00": MIDNIGHT_US,
    "1704067200000": MIDNIGHT_US,
    "0": 0,
    "1970-01-01T01:00+01:00": 0,
    "9999-12-31T23:59:59.999999Z": TIME_US_MAX,
}

NO_TIMES = (
    "", " ", "now", "2024-01", "2024-1-1", "2024-01-01T", "2024-01-01Z", "2024-01-01T00",
    "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00+1", "2024-01-01T00:00:00+01:60",
    "2024-01-01T00:00:00+24:00", "2024-02-30", "2024-00-01", "0000-01-01", "1969-12-31",
    "9999-12-31T23:59:59-00:01", "1" * 16, "253402300800000", "-1", "1.5", "+1",
    "\u0661704067200000", "2024-01-01T00:00:00Z\n",
)  # fmt: skip


@pytest.mark.parametrize("text", TIMES)
def test_times(text: str) -> None:
    assert parse_time(text, "start_time") == TIMES[text]


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_time(text, "start_time")
    assert refused.value.status == 400
    assert refused.value.errors[0]["param"] == "start_time"


@unhurried
@given(
    st.datetimes(
        min_value=datetime(1970, 1, 2),
        max_value=datetime(9999, 12, 30),
        timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
    )
)
def test_times_agree_with_the_standard_library(at: datetime) -> None:
    expected = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_time(at.isoformat(), "t") == expected
    assert parse_time(at.isoformat().replace("+", " "), "t") == expected


places = st.builds(
    OrderPlace,
    st.integers(0, TIME_US_MAX),
    st.integers(1, 2**31 - 1),
    st.integers(1, 2**53),
)


@given(places)
def test_a_cursor_is_a_place(place: OrderPlace) -> None:
    assert decode_cursor(encode_cursor(place)) == place


@given(places, st.data())
def test_a_damaged_cursor_is_refused(place: OrderPlace, data: st.DataObject) -> None:
    cursor = encode_cursor(place)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.characters().filter(lambda c: c != cursor[at]))
    for damaged in (cursor[:at] + other + cursor[at + 1 :], cursor[:at], cursor + other):
        with pytest.raises(ApiError):
            decode_cursor(damaged)


@given(st.text())
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(ApiError):
        decode_cursor(text)


def test_a_place_outside_of_time_is_refused() -> None:
    with pytest.raises(ApiError):
        decode_cursor(encode_cursor(OrderPlace(TIME_US_MAX + 1, 1, 1)))


def test_what_took_too_long_says_what_to_do() -> None:
    error = public_error(TimedOut("canceling statement due to statement timeout"))
    assert error.status == 503
    assert "shorter range" in error.message
