"""The same commands give the same events, depth and state in any process."""

import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest

from tests.builders import Shape, picture, random_commands
from workers.core.depth import take_delta
from workers.core.engine import MatchingEngine

SHAPE = Shape("any", spread_ticks=30, market_share=0.1)
SEED, LENGTH = 7, 10_000
SCRIPT = "from tests.unit.test_core_determinism import digest; print(digest())"
ROOT = Path(__file__).parents[2]


def digest() -> str:
    """Return what a run of the seeded command log comes to."""
    engine = MatchingEngine()
    events = blake2b(digest_size=16)
    for each in random_commands(SEED, SHAPE, LENGTH):
        before = engine.sequence
        happened = [picture(event) for event in engine.apply(each)]
        delta = take_delta(engine.book, before, engine.sequence)
        events.update(repr((happened, delta)).encode())
    return f"{engine.sequence} {engine.trade_no} {events.hexdigest()} {engine.state_hash()}"


@pytest.fixture(scope="module")
def expected() -> str:
    return digest()


def test_in_the_same_process(expected: str) -> None:
    assert digest() == expected
    assert int(expected.split()[1]) > 1_000


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_in_another_process_with_another_hash_seed(expected: str, hash_seed: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.strip() == expected
