"""What `./ops/run --dev` takes for a change of the code."""

import asyncio
from pathlib import Path

from ops import reload

TIMEOUT_S = 10.0


async def next_change(changes: "asyncio.Future[Path]") -> Path:
    return await asyncio.wait_for(changes, TIMEOUT_S)


async def test_changes_are_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "ops").mkdir()
    file = tmp_path / "api" / "a.py"
    file.write_text("1")
    changes = reload.changes(tmp_path, ("api", "nowhere"), poll_s=0.01)

    def following() -> "asyncio.Future[Path]":
        return asyncio.ensure_future(anext(changes))

    waiting = following()
    # Nothing that the processes are made of.
    (tmp_path / "ops" / "b.py").write_text("1")
    (tmp_path / "api" / "__pycache__").mkdir()
    (tmp_path / "api" / "__pycache__" / "a.pyc").write_text("1")
    assert not (await asyncio.wait({waiting}, timeout=0.2))[0]
    file.write_text("22")
    assert await next_change(waiting) == Path("api/a.py")
    waiting = following()
    assert not (await asyncio.wait({waiting}, timeout=0.2))[0]
    (tmp_path / "api" / "new.lua").write_text("")
    assert await next_change(waiting) == Path("api/new.lua")
    waiting = following()
    file.unlink()
    assert await next_change(waiting) == Path("api/a.py")


def test_what_is_watched_is_there() -> None:
    watched = {path.relative_to(reload.ROOT).as_posix() for path in
               reload.stamps(reload.ROOT, reload.FOLDERS)}  # fmt: skip
    assert {"api/app.py", "workers/core/engine.py", "workers/adapters/append.lua"} <= watched
    assert "sql/queries.sql" in watched
    assert not any(path.startswith("ops/") for path in watched)
