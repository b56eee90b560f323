"""Full disks, wrong clocks, no descriptors, no room for logs; jobs and mirrors that die.

Each is a scenario of `python -m ops faults`, run here on its own: nothing is lost, nothing happens
twice, and trading goes on within the time that is stated.
"""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from ops.faulting import clocks, disk
from ops.faulting.campaign import Campaign
from ops.faulting.clocks import Clock
from ops.faulting.cluster import Cluster
from ops.faulting.disk import MIB, SmallDisk
from ops.faulting.scenarios import BY_NAME, TABLE, Scenario

# In each run of the tests. All of them would take minutes: of the others one is drawn.
ALWAYS = (
    "tables' disk full", "postgres's clock an hour back", "web out of descriptors",
    "jobs die at jobs.finish.before", "mirror dies at kafka.publish.after",
)  # fmt: skip
SEED = int(os.environ.get("EXCHANGE_FAULTS_SEED") or time.time_ns() % 1_000_000)
# Measured on shared processors.
RECOVERY_S = 10.0


def of(*numbers: str) -> list[Scenario]:
    return [scenario for scenario in TABLE if scenario.numbers in numbers]


def run(cluster: Cluster, scenarios: list[Scenario]) -> None:
    said: list[str] = [f"EXCHANGE_FAULTS_SEED={SEED}"]
    campaign = Campaign(cluster, SEED, said.append, clients=4, batch=10)
    campaign.segment(scenarios, until=lambda: False)
    figures = campaign.as_json()
    campaign_says = "\n".join(said)
    assert not campaign.failed, campaign_says
    assert figures["runs"] == len(scenarios), campaign_says
    assert (figures["lost"], figures["duplicated"]) == (0, 0), campaign_says
    assert figures["unknown"] == figures["resolved"], campaign_says
    assert figures["worst_recovery_s"] < RECOVERY_S, campaign_says
    # After each fault, and at the end: of three instruments.
    assert figures["websocket_books_compared"] == 3 * len(scenarios) + 3, campaign_says


@pytest.mark.parametrize("name", ALWAYS)
def test_one(cluster: Cluster, name: str) -> None:
    scenario = BY_NAME[name]
    if missing := scenario.missing():
        pytest.skip(missing)
    run(cluster, [scenario])


def test_others(cluster: Cluster) -> None:
    others = [
        scenario
        for scenario in of("22", "28", "29", "31", "34")
        if scenario.name not in ALWAYS and not scenario.missing()
    ]
    run(cluster, random.Random(SEED).sample(others, 1))


@pytest.mark.skipif(bool(disk.why_missing()), reason=disk.why_missing())
def test_a_small_disk(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "old").write_bytes(b"old")
    with SmallDisk(folder, MIB) as small:
        (folder / "new").write_bytes(bytes(MIB // 2))
        with pytest.raises(OSError, match="No space left on device"):
            (folder / "more").write_bytes(bytes(2 * MIB))
        small.grow()
        (folder / "more").write_bytes(bytes(2 * MIB))
    assert (folder / "below" / "old").read_bytes() == b"old"
    assert (folder / "more").stat().st_size == 2 * MIB
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert not os.path.ismount(folder)


@pytest.mark.skipif(bool(clocks.why_missing()), reason=clocks.why_missing())
def test_a_wrong_clock(tmp_path: Path) -> None:
    clock = Clock(tmp_path, "one")
    clock.set(3_600)
    ahead_s = _asked(clock) - time.time()
    assert 3_500 < ahead_s < 3_700
    clock.set(-3_600)
    assert -3_700 < _asked(clock) - time.time() < -3_500


def _asked(clock: Clock) -> float:
    return float(
        subprocess.run(
            ["date", "+%s"], env=os.environ | clock.variables, capture_output=True, check=True
        ).stdout
    )
