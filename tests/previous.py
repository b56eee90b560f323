"""The version before this one: what a deployment runs until it has been upgraded to this code."""

import re
import subprocess
from pathlib import Path

import pytest

import sql

ROOT = Path(__file__).parents[1]
HEAD = re.compile(r'^HEAD = "(\d+)"', re.MULTILINE)


def previous_version(folder: Path) -> Path:
    """Unpack the newest commit whose migrations end before ours; skip where there is no history.

    Nothing of it is changed: old processes are `python -m ...` in this folder.
    """
    commit = _previous_commit()
    if commit is None:
        pytest.skip("no commit here has older migrations: clone the repository with its history")
    archive = folder / "previous.tar"
    _git("archive", "--format=tar", f"--output={archive}", commit)
    target = folder / "previous"
    target.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", target], check=True)
    return target


def _previous_commit() -> str | None:
    changes = _git("log", "--first-parent", "-m", "--format=%H", "-G^HEAD = ", "sql/__init__.py")
    # HEAD itself is the one while the migration is being written.
    for commit in ("HEAD", *(f"{change}^1" for change in changes.split())):
        found = HEAD.search(_git("show", f"{commit}:sql/__init__.py"))
        if found and found[1] < sql.HEAD:
            return commit
    return None


def _git(*arguments: str) -> str:
    """Return what git says; nothing where it cannot be asked."""
    try:
        asked = subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return asked.stdout if asked.returncode == 0 else ""
