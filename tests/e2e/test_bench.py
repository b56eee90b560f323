"""`python -m ops bench`: every kind of load, and the limits, in runs too short to believe."""

import json
import subprocess
import sys
from pathlib import Path

SCENARIOS = ["http-1", "websocket", "batch", "instruments-3"]
PARTS = {"web", "matcher", "PostgreSQL", "Valkey", "load"}


def test_what_is_measured(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ops", "bench", *SCENARIOS, "--seconds", "1", "--repeats", "1"),
            *("--json", figures, "--page", page),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    assert report["policy"]["fsync"] == report["policy"]["synchronous_commit"] == "on"
    assert set(report["scenarios"]) == set(SCENARIOS)
    for name, made in report["scenarios"].items():
        # Nothing but orders that were taken; a batch is answered as a whole.
        assert set(made["statuses"]) == {"200" if name == "batch" else "201"}, name
        assert made["rate"] > 0
        assert set(made["us_per_order"]) == PARTS
        assert made["batch_length"] >= 1
        assert made["latency_ms"]["50"] <= made["latency_ms"]["99"] <= made["latency_ms"]["100"]
        assert name in done.stdout
        assert name in page.read_text()
    assert set(report["limits"]) == {"append", "read", "commit", "engine", "http"}
    assert all(rate > 100 for rate in report["limits"].values())
    assert len(report["memory_mb"]["web"]) == len(report["memory_mb"]["matcher"]) == 1


def test_an_unknown_scenario_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops", "bench", "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "No scenario 'nothing': choose of http-64" in done.stderr
