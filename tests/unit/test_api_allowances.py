"""What a process allows by itself: near enough to what Redis would say, and never much more."""

from api.allowances import FRESH_US, KEYS_MAX, Allowances
from workers.adapters.limits import Verdict

MINUTE_US = 60_000_000
# Of 10,000 in a minute, each takes 6 ms; a hundred may be taken before Redis is told.
PRICE_US = 6_000
WHOLE = Verdict(True, 9_999, 0, 0)


def known(*keys: str) -> Allowances:
    allowances = Allowances(MINUTE_US, 10_000)
    for key in keys:
        allowances.learn([key], WHOLE, 0)
    return allowances


def test_redis_decides_about_whom_nobody_knows() -> None:
    assert known("ip").take(["ip", "client"], 1, 0) is None
    assert known("ip").untold() == []


def test_who_is_far_from_the_limit_is_counted_here() -> None:
    allowances = known("ip", "client")
    assert allowances.take(["ip", "client"], 3, 0) == Verdict(True, 9_997, 3 * PRICE_US, 0)
    assert allowances.take(["ip"], 1, 0) == Verdict(True, 9_996, 4 * PRICE_US, 0)
    # It comes back with time.
    assert allowances.take(["ip"], 1, 5 * PRICE_US) == Verdict(True, 9_999, PRICE_US, 0)
    assert sorted(allowances.untold()) == [("client", 3), ("ip", 5)]
    assert allowances.untold() == []


def test_a_hundredth_may_be_taken_untold() -> None:
    allowances = known("ip")
    assert allowances.take(["ip"], 101, 0) is None
    assert allowances.take(["ip"], 100, 0) is not None
    assert allowances.take(["ip"], 1, 0) is None
    allowances.untold()
    assert allowances.take(["ip"], 1, 0) is not None


def test_nothing_is_taken_when_one_key_has_too_little() -> None:
    allowances = known("ip")
    allowances.learn(["client"], Verdict(True, 999, 54_006_000, 0), 0)
    assert allowances.take(["ip", "client"], 1, 0) is None
    assert allowances.untold() == []
    # A little later a tenth is left, and the scarcest speaks.
    assert allowances.take(["ip", "client"], 1, 2 * PRICE_US) == Verdict(True, 1_000, 54_000_000, 0)


def test_what_was_taken_since_counts_on_top_of_what_redis_says() -> None:
    allowances = known("ip")
    allowances.take(["ip"], 10, 0)
    allowances.learn(["ip"], Verdict(True, 9_000, 1_000 * PRICE_US, 0), 0)
    assert allowances.take(["ip"], 1, 0) == Verdict(True, 8_989, 1_011 * PRICE_US, 0)


def test_what_redis_said_long_ago_is_not_believed() -> None:
    allowances = known("ip")
    assert allowances.take(["ip"], 1, FRESH_US) is not None
    assert allowances.take(["ip"], 1, FRESH_US + 1) is None


def test_small_limits_are_exact() -> None:
    allowances = Allowances(MINUTE_US, 99)
    allowances.learn(["ip"], Verdict(True, 99, 0, 0), 0)
    assert allowances.take(["ip"], 1, 0) is None


def test_the_number_of_keys_is_bounded() -> None:
    allowances = known(*(str(number) for number in range(KEYS_MAX + 1)))
    assert allowances.take(["0"], 1, 0) is not None
    allowances.learn(["one more"], WHOLE, 0)
    assert allowances.take(["0"], 1, 0) is None
    assert allowances.take(["one more"], 1, 0) is not None
