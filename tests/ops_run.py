"""`python -m ops run`, which `./ops/run` becomes, for tests."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
READY = "Trade engine is ready: "


@contextlib.contextmanager
def run(*options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start it, in an environment that gives no servers."""
    unset = {"DATABASE_URL", "REDIS_URL", "PORT", "HOST", "EXCHANGE_DATA", "EXCHANGE_ENV"}
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    with subprocess.Popen(
        [sys.executable, "-m", "ops", "run", *options],
        cwd=ROOT,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until_ready(process: subprocess.Popen[str]) -> str:
    """Return the URL it prints."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if READY in line:
            return line.split(READY)[1].strip()
    raise AssertionError("".join(lines))
