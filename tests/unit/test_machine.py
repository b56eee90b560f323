"""How much memory is in use, as control groups and machines tell it."""

from pathlib import Path

import pytest

from workers.machine import machine_metrics, memory_used_ratio


# (memory.max, what counts of 800 in use, of which 300 are pages of files)
@pytest.mark.parametrize(("most", "ratio"), [("1000", 0.5), ("500", 1.0)])
def test_of_a_container(tmp_path: Path, most: str, ratio: float) -> None:
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("800\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\nactive_file 0\n")
    assert memory_used_ratio(tmp_path) == pytest.approx(ratio)


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    for text in (None, "max\n", "0\n"):
        if text is not None:
            (tmp_path / "memory.max").write_text(text)
            (tmp_path / "memory.current").write_text("800\n")
            (tmp_path / "memory.stat").write_text("")
        assert 0 < memory_used_ratio(tmp_path) < 1


def test_it_is_a_metric() -> None:
    (metric,) = machine_metrics()
    assert metric.name == "memory_used_ratio"
    assert 0 < metric.samples[0].value < 1
