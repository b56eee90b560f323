"""The running exchange as its data folder tells of it: one at a time, and where it is."""

import argparse
import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ops.embedded.passwords import write_private
from ops.embedded.server import make_data_folder
from ops.errors import OpsError


def default_folder(env: Mapping[str, str]) -> Path:
    """Return the data folder for this user when none is given."""
    if env.get("EXCHANGE_DATA"):
        return Path(env["EXCHANGE_DATA"])
    if os.geteuid() == 0:
        return Path("/var/lib/trade-engine")
    if env.get("XDG_DATA_HOME"):
        return Path(env["XDG_DATA_HOME"]) / "trade-engine"
    return Path.home() / ".local" / "share" / "trade-engine"


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add `--data`, the folder by which an instance is known."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=default_folder(os.environ),
        help="data folder (EXCHANGE_DATA)",
    )


class Instance:
    """One data folder: its lock, and the description that a running exchange leaves there."""

    def __init__(self, data: Path) -> None:
        self.data = data.expanduser().resolve()
        self.logs = self.data / "logs"
        self.metrics = self.data / "metrics"
        self._description = self.data / "instance.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; raise OpsError when another run does."""
        try:
            make_data_folder(self.data)
            descriptor = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise OpsError(
                f"Cannot use the data folder {self.data} ({error.strerror}); "
                "choose another with --data"
            ) from error
        try:
            if not _try_lock(descriptor):
                url = self._read().get("http_url", "its address is not known yet")
                raise OpsError(
                    f"Trade engine already runs on the data folder {self.data} ({url}); "
                    "stop it, or choose another folder with --data"
                )
            self._description.unlink(missing_ok=True)  # of a run that was killed
            try:
                yield
            finally:
                self._description.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Say where the running exchange is. Holds passwords, so only its owner may read it."""
        write_private(self._description, json.dumps(description, indent=2) + "\n")

    def running(self) -> dict[str, Any] | None:
        """Return what the running exchange said of itself, or None when none runs."""
        try:
            descriptor = os.open(self.data / "lock", os.O_RDWR)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OpsError(f"Cannot read {self.data} ({error.strerror})") from error
        try:
            return None if _try_lock(descriptor) else self._read() or None
        finally:
            os.close(descriptor)

    def last_pids(self) -> dict[str, int]:
        """Return the process numbers of the run that is or was killed here, by name."""
        return dict(self._read().get("pids", {}))

    def address_of(self, server: str) -> str:
        """Return the URL of `http`, `postgres` or `redis`, or raise OpsError."""
        description = self.running()
        if description is None:
            raise OpsError(
                f"Nothing runs on the data folder {self.data}; start it with ./ops/run, "
                "or name the folder with --data"
            )
        return str(description[f"{server}_url"])

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._description.read_text()))
        except (OSError, ValueError):
            return {}


@contextlib.contextmanager
def ephemeral_folder() -> Iterator[Path]:
    """Give a data folder that is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="trade-engine-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        yield folder


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
