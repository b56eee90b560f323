"""The exchange in a simulation: seeds, replays, planted bugs. See `python -m tests.simulation -h`.

SIMULATION_SEEDS and SIMULATION_START choose which seeds run, and how many.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import KILL_LIST_START, hunt
from tests.simulation.exchange_world import simulate
from tests.simulation.plants import PLANTS, Plant

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "80"))
START = int(os.environ.get("SIMULATION_START", "0"))
# Seeds per test: a failure stops its own group only.
GROUP = 20


def check(seed: int) -> None:
    result = simulate(seed)
    if result.failed:
        lines = "\n".join(list(result.trace.lines)[-60:])
        pytest.fail(
            f"{lines}\n\n" + "\n".join(result.problems) + f"\n\nSEED={seed} "
            f"python -m tests.simulation --seed {seed}",
            pytrace=False,
        )


@pytest.mark.parametrize("start", range(START, START + SEEDS, GROUP))
def test_seeds(start: int) -> None:
    for seed in range(start, min(start + GROUP, START + SEEDS)):
        check(seed)


def test_a_seed_is_the_same_in_every_process() -> None:
    script = (
        "from tests.simulation.exchange_world import simulate\n"
        "for seed in (3, 4, 5, 6): print(simulate(seed).trace.hash())"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0].split())) == 4
    # And in this one, in which others ran before.
    assert outputs[0].split() == [simulate(seed).trace.hash() for seed in (3, 4, 5, 6)]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_bug_is_found(plant: Plant) -> None:
    found = hunt(plant, KILL_LIST_START, plant.seeds)
    assert found is not None, f"not within {plant.seeds} seeds"
    print(f"{plant.name}: {found[0]} of {plant.seeds} seeds, {found[1]}")


def test_plants_leave_nothing_behind() -> None:
    before = simulate(7).trace.hash()
    for plant in PLANTS[:3]:
        simulate(1, plant=plant)
    assert simulate(7).trace.hash() == before
