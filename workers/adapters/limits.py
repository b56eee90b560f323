"""Rate limits, counted in Redis so that all web processes share them."""

from collections.abc import Sequence
from typing import NamedTuple

from workers.adapters.redis import close, connect, load_script, translated
from workers.core.channels import RATE_TAG

US_PER_MS = 1_000
# A request must not wait longer than this to be counted.
ANSWER_TIMEOUT_S = 0.25


class Check(NamedTuple):
    """Who asks (keys, see core.channels.rate_key), and for how many requests."""

    keys: Sequence[str]
    cost: int


class Verdict(NamedTuple):
    """The answer to one check. Times in microseconds; `wait_us` is 0 when it was allowed."""

    allowed: bool
    remaining: int
    reset_us: int
    wait_us: int


class RateLimits:
    """`requests_max` per `window_ms` for each key; limit.lua says how they are counted."""

    def __init__(self, url: str, window_ms: int, requests_max: int) -> None:
        self._client = connect(url, ANSWER_TIMEOUT_S, RATE_TAG)
        self._limit = load_script(self._client, "limit.lua")
        self.window_us = window_ms * US_PER_MS
        self.requests_max = requests_max

    async def close(self) -> None:
        """Close the connection; never fails."""
        await close(self._client)

    async def check(self, checks: Sequence[Check]) -> list[Verdict]:
        """Take from all keys of a check or, when one has too little left, from none.

        Raises Unavailable, OutcomeUnknown.
        """
        arguments: list[int] = [self.window_us, self.requests_max]
        for check in checks:
            arguments += (len(check.keys), check.cost)
        async with translated():
            results = await self._limit([key for check in checks for key in check.keys], arguments)
        return [
            Verdict(bool(allowed), remaining, reset_us, wait_us)
            for allowed, remaining, reset_us, wait_us in zip(*[iter(results)] * 4, strict=True)
        ]
