"""Rate limits against a real server: what is allowed, what is left, and when it is back."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
import redis

from api.limits import Limiter, limited_address
from workers.adapters.errors import AdapterError
from workers.adapters.limits import Check, RateLimits
from workers.core.channels import rate_key
from workers.metrics import Metrics

HOUR_MS = 3_600_000
IP, CLIENT, OTHER = rate_key("ip", "1.2.3.4"), rate_key("client", "a"), rate_key("client", "b")


@pytest.fixture
async def limits(redis_url: str) -> AsyncIterator[RateLimits]:
    """Ten requests an hour: nothing refills while a test runs."""
    limits = RateLimits(redis_url, HOUR_MS, 10)
    yield limits
    await limits.close()


async def test_the_allowance_is_used_up_and_then_refused(limits: RateLimits) -> None:
    for left in reversed(range(10)):
        (verdict,) = await limits.check([Check([IP], 1)])
        assert (verdict.allowed, verdict.remaining, verdict.wait_us) == (True, left, 0)
    (verdict,) = await limits.check([Check([IP], 1)])
    assert (verdict.allowed, verdict.remaining) == (False, 0)
    hour_us = HOUR_MS * 1000
    # One of ten comes back in a tenth of the window, and all of them in the whole.
    assert 0.99 * hour_us / 10 < verdict.wait_us <= hour_us / 10
    assert 0.99 * hour_us < verdict.reset_us <= hour_us


async def test_a_check_takes_from_all_its_keys_or_from_none(limits: RateLimits) -> None:
    (verdict,) = await limits.check([Check([CLIENT], 8)])
    assert (verdict.allowed, verdict.remaining) == (True, 2)
    verdicts = await limits.check(
        [Check([IP, CLIENT], 3), Check([IP, CLIENT], 2), Check([IP, OTHER], 5), Check([IP], 4)]
    )
    assert [(v.allowed, v.remaining) for v in verdicts] == [
        (False, 2), (True, 0), (True, 3), (False, 3),
    ]  # fmt: skip


async def test_a_clock_that_went_back_refuses_nobody(limits: RateLimits, redis_url: str) -> None:
    await limits.check([Check([IP], 10)])
    with redis.from_url(redis_url) as server:
        ahead = int(server.get(IP)) + HOUR_MS * 1000
        server.set(IP, ahead)
    (verdict,) = await limits.check([Check([IP], 1)])
    assert (verdict.allowed, verdict.remaining) == (True, 9)


async def test_a_cost_above_the_whole_allowance_can_be_paid_once(limits: RateLimits) -> None:
    (first,) = await limits.check([Check([IP], 100)])
    (second,) = await limits.check([Check([IP], 100)])
    assert (first.allowed, first.remaining, second.allowed) == (True, 0, False)


async def test_an_allowance_comes_back_and_its_key_goes_away(redis_url: str) -> None:
    limits = RateLimits(redis_url, 1_000, 50)
    (verdict,) = await limits.check([Check([IP], 50)])
    assert verdict.allowed
    refused = 0
    while not (await limits.check([Check([IP], 1)]))[0].allowed:
        refused += 1
        await asyncio.sleep(0.001)
    assert refused
    with redis.from_url(redis_url) as server:
        assert 0 < server.pttl(IP) <= 1_001
    await limits.close()


async def test_everybody_who_asks_at_once_gets_an_answer_in_turn(limits: RateLimits) -> None:
    limiter = Limiter(limits, Metrics())
    verdicts = await asyncio.gather(*(limiter.take("1.2.3.4", "a") for _ in range(600)))
    assert [verdict is not None and verdict.allowed for verdict in verdicts] == (
        [True] * 10 + [False] * 590
    )


async def test_without_redis_everything_passes() -> None:
    limits = RateLimits("redis://127.0.0.1:1/0", HOUR_MS, 1)
    with pytest.raises(AdapterError):
        await limits.check([Check([IP], 1)])
    limiter = Limiter(limits, Metrics())
    assert await limiter.take("1.2.3.4") is None
    await limits.close()


@pytest.mark.parametrize(
    ("address", "limited"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
        ("", ""),
    ],
)
def test_what_an_address_is_limited_as(address: str, limited: str) -> None:
    assert limited_address(address) == limited


async def test_redis_is_told_of_what_was_allowed_without_it(redis_url: str) -> None:
    # Of a day: nothing comes back before Redis is told.
    limits = RateLimits(redis_url, 24 * HOUR_MS, 10_000)
    limiter, other = Limiter(limits, Metrics()), Limiter(limits, Metrics())
    for asked in range(500):
        verdict = await limiter.take("1.2.3.4", "a")
        assert verdict is not None
        assert (verdict.allowed, verdict.remaining) == (True, 10_000 - asked - 1)
    async with asyncio.timeout(10):
        for _ in itertools.count():
            (verdict,) = await limits.check([Check([IP, CLIENT], 0)])
            if verdict.remaining == 9_500:
                break
            await asyncio.sleep(0.01)
    # Another process goes on from there.
    verdict = await other.take("1.2.3.4", "a")
    assert verdict is not None
    assert verdict.remaining == 9_499
    await limits.close()
