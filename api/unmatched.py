"""What is said of instruments that nobody matches: at /readyz, and unasked in the log."""

import logging
from collections.abc import Sequence

from workers.core.instruments import Instrument

logger = logging.getLogger(__name__)

# Longer than a take-over takes: a standby has had its chance.
GRACE_S = 5.0
REPEAT_S = 60.0

REMEDY = "run `python -m workers.matching` (on a Procfile platform, scale `matcher` to 1)"


def complaints(rows: Sequence[tuple[Instrument, bool]]) -> list[str]:
    """Return what to say of instruments and whether each is matched; nothing when all are."""
    names = [instrument.instrument for instrument, matched in rows if not matched]
    if names and len(names) == len(rows):
        return [f"no matcher runs, so nothing can trade: {REMEDY}"]
    return [f"no matcher holds {name}: {REMEDY}" for name in names]


class Watch:
    """Logs that nobody matches, soon and again and again: platforms start only `web` by default."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._said_at: float | None = None

    def look(self, rows: Sequence[tuple[Instrument, bool]], now_s: float) -> None:
        """Take note of how it is at a time of a monotonic clock."""
        problems = complaints(rows)
        if not problems:
            if self._said_at is not None:
                logger.info("every instrument is matched again")
            self._since = self._said_at = None
            return
        if self._since is None:
            self._since = now_s
        if now_s - self._since >= GRACE_S and (
            self._said_at is None or now_s - self._said_at >= REPEAT_S
        ):
            self._said_at = now_s
            logger.error("; ".join(problems))
