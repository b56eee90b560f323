"""Query parameters: one that is repeated, empty or unusable is refused, an unknown one ignored."""

import re
import time
from datetime import datetime, timedelta
from typing import NamedTuple

from sanic import Request

from api.errors import invalid
from api.exchange import Exchange
from api.schemas import read_count, read_identifier
from workers.core.instruments import DEFAULT_INSTRUMENT, Instrument

LIMIT_MAX = 1_000
INTERVAL_MINUTES_MAX = 24 * 60
DEFAULT_RANGE_US = 24 * 3_600 * 1_000_000
# What both PostgreSQL and our own timestamps can say: the years 1970 to 9999.
TIME_US_MAX = 253_402_300_800_000_000 - 1

_MILLISECONDS = re.compile(r"[0-9]{1,15}", re.ASCII)
# An offset's "+" that was not escaped arrives as a space.
_ISO_8601 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:Z|([-+ ])(\d\d):?(\d\d))?)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1)


class TimeRange(NamedTuple):
    """Microseconds since 1970: from `start_us` up to and without `end_us`."""

    start_us: int
    end_us: int


def read_text(request: Request, param: str) -> str | None:
    """Return a parameter, None when it is absent. Raises ApiError (400)."""
    values = request.get_args(keep_blank_values=True).getlist(param, [])
    if len(values) > 1:
        raise invalid(param, "must be given once", "query")
    if values == [""]:
        raise invalid(param, "must not be empty", "query")
    return values[0] if values else None


def read_name(request: Request, param: str) -> str | None:
    """Return an identifier, None when it is absent. Raises ApiError (400)."""
    text = read_text(request, param)
    return None if text is None else read_identifier(text, param, "query")


def read_instrument(request: Request, exchange: Exchange) -> Instrument:
    """Return the instrument that is asked for. Raises ApiError (400, 404, 503)."""
    return exchange.instruments.get(read_name(request, "instrument") or DEFAULT_INSTRUMENT)


def read_number(request: Request, param: str, default: int, most: int) -> int:
    """Return a count from 1 to `most`. Raises ApiError (400)."""
    return read_count(read_text(request, param), param, default, most)


def read_limit(request: Request) -> int:
    """Return how many rows an answer may have. Raises ApiError (400)."""
    return read_number(request, "limit", 50, LIMIT_MAX)


def read_interval(request: Request) -> int:
    """Return the interval in minutes. Raises ApiError (400)."""
    return read_number(request, "interval", 1, INTERVAL_MINUTES_MAX)


def read_range(request: Request) -> TimeRange:
    """Return `start_time` to `end_time`, by default the last 24 hours. Raises ApiError (400)."""
    start, end = (read_text(request, param) for param in ("start_time", "end_time"))
    end_us = time.time_ns() // 1_000 if end is None else parse_time(end, "end_time")
    start_us = (
        max(0, end_us - DEFAULT_RANGE_US) if start is None else parse_time(start, "start_time")
    )
    if start_us > end_us:
        raise invalid("start_time", "must not be after end_time", "query")
    return TimeRange(start_us, end_us)


def parse_time(text: str, param: str) -> int:
    """Return microseconds since 1970 of ISO 8601 text or of whole milliseconds.

    A date alone is its midnight; without an offset it is UTC. Raises ApiError (400).
    """
    time_us = None
    if _MILLISECONDS.fullmatch(text):
        time_us = int(text) * 1_000
    elif parts := _ISO_8601.fullmatch(text):
        year, month, day, hour, minute, second, fraction, sign, hours, minutes = parts.groups("0")
        try:
            at = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
            offset = timedelta(hours=int(hours), minutes=int(minutes))
        except ValueError:
            pass  # a 30th of February
        else:
            since = at - _EPOCH + (offset if sign == "-" else -offset)
            if int(hours) < 24 and int(minutes) < 60:
                time_us = since // timedelta(microseconds=1) + int(f"{fraction:0<6.6}")
    if time_us is None or not 0 <= time_us <= TIME_US_MAX:
        raise invalid(
            param,
            "must be a time such as 2024-01-31T09:30:00Z or 2024-01-31, or milliseconds since "
            "1970, in the years 1970 to 9999",
            "query",
        )
    return time_us
