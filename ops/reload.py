"""Notice that the code of the processes has changed: `./ops/run --dev`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What the processes are made of; `ops` itself is not among them: it is what runs.
FOLDERS = ("api", "workers", "sql")
SUFFIXES = (".py", ".lua", ".sql")
# A few hundred files: a few milliseconds each time, in a thread.
POLL_S = 0.5

Stamps = dict[Path, tuple[int, int]]


async def changes(
    root: Path = ROOT, folders: Sequence[str] = FOLDERS, poll_s: float = POLL_S
) -> AsyncIterator[Path]:
    """Yield a file that changed, came or went, once per look at all of them. Never ends.

    Editors write in several steps: a change is told of when a look has found no further one.
    """
    before = await asyncio.to_thread(stamps, root, folders)
    pending: Path | None = None
    while True:
        await asyncio.sleep(poll_s)
        now = await asyncio.to_thread(stamps, root, folders)
        different = before.items() ^ now.items()
        before = now
        if different:
            pending = min(path for path, _ in different)
        elif pending is not None:
            yield pending.relative_to(root)
            pending = None


def stamps(root: Path, folders: Sequence[str]) -> Stamps:
    """Return when each file was written last, and its size."""
    found = {}
    for folder in folders:
        for path in (root / folder).rglob("*"):
            if path.suffix in SUFFIXES:
                try:
                    status = path.stat()
                except FileNotFoundError:  # gone since it was listed
                    continue
                found[path] = (status.st_mtime_ns, status.st_size)
    return found
