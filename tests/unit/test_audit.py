"""The audit of dependencies says what it could not look at, and fails for what is vulnerable."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"
CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found on PyPI"}
VULNERABLE = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1"}]}


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        ([CLEAN], 0, "1 packages audited, 0 are vulnerable"),
        ([CLEAN, SKIPPED], 0, "not audited: b"),
        ([SKIPPED], 0, "NOT AUDITED"),
        ([CLEAN, SKIPPED, VULNERABLE], 1, "VULNERABLE: c 2: CVE-1"),
        (None, 0, "NOT AUDITED"),
    ],
)
def test_what_it_says(tmp_path: Path, found: list[Any] | None, code: int, says: str) -> None:
    pip_audit = tmp_path / "pip-audit"
    answer = "nothing" if found is None else json.dumps({"dependencies": found})
    pip_audit.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    pip_audit.chmod(pip_audit.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run(
        [sys.executable, AUDIT, pip_audit, "constraints.txt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, says in done.stdout) == (code, True), done.stdout
