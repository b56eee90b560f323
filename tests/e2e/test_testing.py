"""What other projects get for their tests: the fixture by its entry point, and a package that holds
all it needs, also when it is not a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import psycopg
import pytest

from ops.testing import run_exchange
from tests import servers

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "ops" / "examples"


def run_pytest(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_with_the_fixture() -> None:
    assert "2 passed" in run_pytest(EXAMPLES / "embedded")


def test_the_example_with_a_container() -> None:
    if not servers.docker_answers():
        pytest.skip("no container engine answers")
    subprocess.run(
        ["docker", "build", "-f", "ops/Dockerfile", "-t", "trade-engine", "."], cwd=ROOT, check=True
    )
    assert "1 passed" in run_pytest(EXAMPLES / "container")


def test_an_exchange_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # The project's own, which we must never touch.
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/theirs")
    monkeypatch.setenv("PORT", "1")
    with run_exchange(RATE_LIMIT_MAX_REQUESTS="12345") as exchange:
        assert exchange.stream_url.startswith("ws://127.0.0.1:")
        with psycopg.connect(exchange.database_url) as connection:
            assert connection.execute("SELECT count(*) FROM exchange.orders").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(exchange.database_url)


def test_a_wheel_holds_all_that_runs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", ROOT, source], check=True)
    wheel = build(source, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    data = f"{wheel.name.split('-py3')[0]}.data/data/share/trade-engine/alembic"
    for path in (ROOT / "alembic" / "versions").glob("[0-9]*.py"):
        assert f"{data}/versions/{path.name}" in names
    assert f"{data}/env.py" in names
    tracked = subprocess.run(
        ["git", "ls-files", "api", "workers", "sql"], cwd=source, capture_output=True, text=True,
        check=True,
    ).stdout.split()  # fmt: skip
    for path in tracked:
        assert path in names, path


def build(source: Path, folder: Path) -> Path:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-input"),
            *("--disable-pip-version-check", "--wheel-dir", folder, source),
        ],
        check=True,
        env={**os.environ, "PIP_NO_CACHE_DIR": "1"},
    )
    (wheel,) = folder.glob("*.whl")
    return wheel
