"""What a check found, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

# A problem loses data, or keeps the exchange from trading; a warning may become one.
Level = Literal["ok", "warning", "problem"]

# Clocks that differ by more give times that look out of order; they never decide who may commit.
SKEW_MS_MAX = 1_000


@dataclass(frozen=True)
class Finding:
    """One check's result. `remedy` says what to do, of all that is not ok."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def judge(check: str, holds: bool, found: str, remedy: str, level: Level = "problem") -> Finding:
    """Return the finding of a check that holds, or else is of `level` and has this remedy."""
    return Finding(check, "ok", found) if holds else Finding(check, level, found, remedy)


def judge_clock(check: str, before_ms: int, theirs_ms: int, after_ms: int) -> Finding:
    """Compare a server's clock with ours, read before and after it was asked."""
    skew_ms = max(before_ms - theirs_ms, theirs_ms - after_ms, 0)
    return judge(
        check,
        skew_ms <= SKEW_MS_MAX,
        f"{skew_ms} ms from this machine's",
        "synchronise the clocks of both machines (NTP, for instance chrony)",
        "warning",
    )
