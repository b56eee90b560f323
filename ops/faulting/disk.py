"""A disk that is too small: a folder of a stopped server, on a file system of its own (tmpfs)."""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.errors import OpsError

MIB = 1 << 20


class SmallDisk:
    """While this lasts, `folder` has room for `room_bytes` more and no byte beyond.

    Nobody may use the folder at its beginning and at its end.
    """

    def __init__(self, folder: Path, room_bytes: int) -> None:
        self._folder = folder
        self._aside = folder.with_name(f"{folder.name}.aside")
        self._room_bytes = room_bytes

    def __enter__(self) -> Self:
        # Each file takes whole pages.
        used = sum(-(-f.stat().st_size // 4096) * 4096 for f in self._folder.rglob("*"))
        status = self._folder.stat()
        self._folder.rename(self._aside)
        self._folder.mkdir(mode=0o700)
        _mount(self._folder, used + self._room_bytes)
        _copy(self._aside, self._folder)
        os.chown(self._folder, status.st_uid, status.st_gid)
        self._folder.chmod(0o700)
        return self

    def grow(self) -> None:
        """Have room for everything from now on."""
        _run("mount", "-o", "remount,size=4g", str(self._folder))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._aside)
        _copy(self._folder, self._aside)
        _run("umount", str(self._folder))
        self._folder.rmdir()
        self._aside.rename(self._folder)


@functools.cache
def why_missing() -> str:
    """Return why there can be no small disk here; "" when there can."""
    if os.geteuid() != 0:
        return "only root may mount a small file system (tmpfs)"
    with tempfile.TemporaryDirectory() as name:
        try:
            _mount(Path(name), MIB)
            _run("umount", name)
        except OpsError as error:
            return f"no small file system (tmpfs) can be mounted: {error}"
    return ""


def _mount(folder: Path, size: int) -> None:
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder))


def _copy(source: Path, target: Path) -> None:
    """Copy everything with its owners."""
    target.mkdir(exist_ok=True)
    _run("cp", "-a", f"{source}/.", f"{target}/")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OpsError(f"{' '.join(command)}: {done.stderr.strip()}")
