"""`python -m ops psql`: a question, its answer, and nothing written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def ask(question: str, url: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops", "psql", question],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("installed", [True, False])
def test_a_question(installed: bool, database_url: str, tmp_path: Path) -> None:
    """Where no psql is installed, the wheel's answers."""
    path = os.environ["PATH"] if installed else str(tmp_path)
    done = ask("SELECT instrument FROM ticker() LIMIT 1", database_url, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.strip() for line in done.stdout.splitlines()[:3]] == [
        "instrument", "------------", "BTC-USD",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        ("DELETE FROM orders", "read-only transaction"),
        ("SELECT no_such_thing", "does not exist"),
    ],
)
def test_what_cannot_be_asked(question: str, complaint: str, database_url: str) -> None:
    done = ask(question, database_url, os.environ["PATH"])
    assert done.returncode == 1
    assert complaint in done.stderr
