"""Run many seeds, or one with its whole trace.

python -m tests.simulation --seeds 1000 --start 0     as many seeds, with a summary
python -m tests.simulation --seed 42                  one seed and everything that happened
python -m tests.simulation --kill-list                the planted bugs, and the seeds they took
"""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.exchange_world import simulate
from tests.simulation.plants import PLANTS, Plant

KILL_LIST_START = 1


def run(start: int, seeds: int) -> int:
    """Run seeds; print what failed and a summary. Return how many failed."""
    began = time.monotonic()
    faults: Counter[str] = Counter()
    failed = orders = acknowledged = steps = 0
    seconds = 0.0
    for number, seed in enumerate(range(start, start + seeds), 1):
        result = simulate(seed)
        faults.update(result.faults)
        orders += result.orders
        acknowledged += result.acknowledged
        steps += result.steps
        seconds += result.seconds
        if result.failed:
            failed += 1
            print(f"SEED={seed} fails: {result.problems[0]}", flush=True)
            print(f"  python -m tests.simulation --seed {seed}", flush=True)
        if number % 100 == 0:
            print(f"{number} seeds, {failed} failed, {number / (time.monotonic() - began):.1f}/s",
                  file=sys.stderr, flush=True)  # fmt: skip
    spent = time.monotonic() - began
    print(
        f"{seeds} seeds in {spent:.0f} s ({seeds / spent:.1f}/s): {failed} failed; "
        f"{orders} orders, {acknowledged} answered with an order; {sum(faults.values())} faults; "
        f"{seconds / 3600:.1f} simulated hours, {steps} steps"
    )
    for name, count in sorted(faults.items()):
        print(f"  {count:8} {name}")
    return failed


def hunt(plant: Plant, start: int, seeds: int) -> tuple[int, str] | None:
    """Return how many seeds it took to find a planted bug, and how it was found."""
    for number, seed in enumerate(range(start, start + seeds), 1):
        result = simulate(seed, plant=plant, allowed=plant.faults)
        if result.failed:
            return number, result.problems[0]
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--kill-list", nargs="?", const="", metavar="PART OF A NAME")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        result = simulate(arguments.seed, whole_trace=True)
        print("\n".join(result.trace.lines))
        print(f"trace {result.trace.hash()}, faults {result.faults}")
        print("\n".join(result.problems) or "nothing is wrong")
        return int(result.failed)
    if arguments.kill_list is not None:
        alive = 0
        for plant in (plant for plant in PLANTS if arguments.kill_list in plant.name):
            found = hunt(plant, arguments.start or KILL_LIST_START, plant.seeds)
            alive += found is None
            took, how = found or (plant.seeds, "NOT FOUND")
            print(f"{plant.name:48} {took:4} of {plant.seeds:4}  {how[:110]}", flush=True)
        return alive
    return run(arguments.start, arguments.seeds)


if __name__ == "__main__":
    sys.exit(main())
