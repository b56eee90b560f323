"""Growth of memory is told from noise; and the command measures a real exchange."""

import math
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ops.__main__ import main
from ops.faulting.memory import MB, Series, svg

TOLERANCE = 6 * MB


def series(
    *, leak_mb_per_min: float = 0.0, peaks: bool = False, descriptors: float = 0.0
) -> Series:
    """Ten minutes: a warm-up to 80 MB, noise, and a leak or not."""
    chance = random.Random(1)
    points = []
    for second in range(600):
        memory = 80 - 40 * math.exp(-second / 30) + chance.uniform(-1, 1)
        memory += leak_mb_per_min * second / 60
        if peaks and second % 50 == 0:
            memory += 60
        points.append((float(second), int(memory * MB), int(20 + descriptors * second)))
    return Series(points)


@pytest.mark.parametrize(
    ("one", "grows"),
    [
        (series(), False),
        (series(peaks=True), False),
        (series(leak_mb_per_min=0.5), False),
        (series(leak_mb_per_min=3), True),
        (series(descriptors=0.2), True),
    ],
    ids=["steady", "peaks", "noise", "leak", "descriptors"],
)
def test_growth(one: Series, grows: bool) -> None:
    assert one.grows(TOLERANCE) is grows


def test_the_drawing_is_one() -> None:
    drawing = svg({"web": series(), "<matcher>": series(leak_mb_per_min=3)}, "a & b")
    root = ElementTree.fromstring(drawing)
    lines = [node for node in root if node.tag.endswith("polyline")]
    assert len(lines) == 2


def test_a_short_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = tmp_path / "soak.svg"
    arguments = ["soak", "--minutes", "0.15", "--tolerance", "200", "--svg", str(drawing)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    for name in ("web", "matcher", "postgres", "valkey"):
        assert f"{name} " in said
    assert "steady" in said
    ElementTree.parse(drawing)
