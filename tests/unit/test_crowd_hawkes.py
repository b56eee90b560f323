"""Arrivals against the theory of Hawkes processes, with fixed seeds."""

from bisect import bisect_left
from math import exp, sqrt
from random import Random

import pytest

from ops.crowd.crowd import BRANCHING, DECAY_PER_S, arrival_rates
from ops.crowd.hawkes import Hawkes, baseline_for

TWO_KINDS = ((0.5, 0.2), (0.1, 0.3))


def arrivals(process: Hawkes, seconds: float) -> list[tuple[float, int]]:
    found = []
    while (arrival := process.next())[0] < seconds:
        found.append(arrival)
    return found


def intensity(history, at, kind, baseline, branching, decay) -> float:
    """The definition, over the whole history before `at`."""
    return baseline[kind] + sum(
        branching[kind][other] * decay * exp(-decay * (at - time))
        for time, other in history
        if time < at
    )


def test_intensity_is_what_the_definition_says() -> None:
    baseline, decay = (0.5, 0.8), 1.5
    process = Hawkes(Random(1), baseline, TWO_KINDS, decay)
    history = []
    for _ in range(200):
        time, kind = process.next()
        history.append((time, kind))
        after = time + 1e-9
        expected = [intensity(history, after, k, baseline, TWO_KINDS, decay) for k in (0, 1)]
        assert process.intensities() == pytest.approx(expected, rel=1e-6)


def test_nothing_excites_makes_a_poisson_process() -> None:
    found = arrivals(Hawkes(Random(2), (3.0,), ((0.0,),), 1.0), 5_000)
    assert len(found) == pytest.approx(15_000, abs=4 * sqrt(15_000))


def test_mean_rates_are_those_of_the_theory() -> None:
    baseline = (0.5, 0.8)
    # (I - branching)^-1 baseline, by hand.
    determinant = (1 - 0.5) * (1 - 0.3) - 0.2 * 0.1
    expected = (
        ((1 - 0.3) * 0.5 + 0.2 * 0.8) / determinant,
        ((1 - 0.5) * 0.8 + 0.1 * 0.5) / determinant,
    )
    seconds = 20_000
    found = arrivals(Hawkes(Random(3), baseline, TWO_KINDS, 2.0), seconds)
    for kind in (0, 1):
        count = sum(1 for _, each in found if each == kind)
        # Counts are at most 1 / (1 - 0.57)^2 times as spread as a Poisson process's.
        assert count / seconds == pytest.approx(
            expected[kind], abs=4 * sqrt(expected[kind] * 5.5 / seconds)
        )
    assert baseline_for(expected, TWO_KINDS) == pytest.approx(baseline)


def test_counts_are_as_spread_as_the_theory_says() -> None:
    branching, decay, window = 0.6, 4.0, 20.0
    found = arrivals(Hawkes(Random(4), (2.0,), ((branching,),), decay), 40_000)
    counts = [0] * 2_000
    for time, _ in found:
        counts[int(time // window)] += 1
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    # Over windows much longer than a burst: 1 / (1 - n)^2 = 6.25 times a Poisson process's.
    assert variance / mean == pytest.approx(1 / (1 - branching) ** 2, rel=0.15)


def test_arrivals_are_exact_by_the_time_change_theorem() -> None:
    """Between arrivals the integral of the intensity is exponential with mean 1, whatever happens.

    An approximation, or thinning against a bound that is too low, would bend the distribution.
    """
    baseline, branching, decay = 1.0, 0.7, 3.0
    found = arrivals(Hawkes(Random(5), (baseline,), ((branching,),), decay), 3_000)
    integrals, excited, before = [], 0.0, 0.0
    for time, _ in found:
        elapsed = time - before
        integrals.append(baseline * elapsed + excited / decay * (1 - exp(-decay * elapsed)))
        excited = excited * exp(-decay * elapsed) + branching * decay
        before = time
    integrals.sort()
    count = len(integrals)
    assert count > 8_000
    distance = max(
        abs((place + 1) / count - (1 - exp(-value))) for place, value in enumerate(integrals)
    )
    # The Kolmogorov-Smirnov bound at one in a thousand.
    assert distance < 1.95 / sqrt(count)
    assert bisect_left(integrals, 0.0) == 0


@pytest.mark.parametrize("rate", [1.0, 100.0, 5_000.0])
def test_a_crowd_has_a_baseline_and_no_explosion(rate: float) -> None:
    baseline = baseline_for(arrival_rates(rate), BRANCHING)
    assert min(baseline) > 0
    # Each kind causes less than one arrival in all after another: bursts end.
    assert max(BRANCHING[kind][kind] for kind in range(len(BRANCHING))) < 1
    found = arrivals(Hawkes(Random(6), baseline, BRANCHING, DECAY_PER_S), 2_000 / rate * 20)
    assert len(found) > 0
