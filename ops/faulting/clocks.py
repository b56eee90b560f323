"""A clock that some processes have for themselves, and that can be set while they run.

It is libfaketime's, from the package of that name or from Debian's `faketime`: loaded into a
process it answers what that asks for the time of day. Clocks that only count on (`time.monotonic`)
are left alone, as when somebody sets a machine's clock.
"""

import importlib.util
import shutil
import sys
from pathlib import Path

import psutil

NAME = "libfaketime.so.1"
VENDORED = Path("vendor") / "libfaketime" / "src" / NAME


class Clock:
    """One clock, kept in a folder that every user may look into."""

    def __init__(self, folder: Path, name: str) -> None:
        self._library = folder / NAME
        self._file = folder / f"{name}.clock"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of whoever has this clock."""
        if not self._library.exists():
            found = library()
            assert found is not None, "see why_missing"
            shutil.copy(found, self._library)
            self._library.chmod(0o755)
        self._file.touch()
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Looked at every second by each process.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Go wrong by so many seconds, from a second from now on at the latest."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n")
        draft.chmod(0o644)
        draft.rename(self._file)


def clean_up() -> None:
    """Remove what killed processes with such a clock left behind in shared memory."""
    for path in Path("/dev/shm").glob("*faketime_s*"):
        pid = path.name.rpartition("_")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)


def library() -> Path | None:
    """Return libfaketime, or None."""
    if sys.platform != "linux":
        return None
    package = importlib.util.find_spec("libfaketime")
    candidates = [*Path("/usr/lib").glob(f"*/faketime/{NAME}")]
    if package is not None and package.origin is not None:
        candidates.append(Path(package.origin).parent / VENDORED)
    return next((path for path in candidates if path.exists()), None)


def why_missing() -> str:
    """Return why clocks cannot be wrong here; "" when they can."""
    if library() is None:
        return "libfaketime is not installed (pip install libfaketime, or Debian's faketime)"
    return ""
