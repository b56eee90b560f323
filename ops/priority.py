"""Analysts' sessions get of the processors what trading leaves.

PostgreSQL knows no priorities. The system does, and the embedded server runs on ours. Linux has two
kinds of niceness, and which of them counts is not ours to choose: where it schedules sessions as
groups ("autogroup", its default outside of services and containers), every backend of PostgreSQL
is a group of its own, and its process's niceness counts only against itself. So both are set.
Elsewhere there is only the process's.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import psutil

import sql
from ops.database import CONNECT_TIMEOUT_S

# The lowest: a seventieth of a usual share while others want the processor, and all that is left.
NICENESS = 19
# A session may have this long at full priority.
LOOK_EVERY_S = 1.0
# The kernel takes one change of a group in this time, but from root.
RETRY_AFTER_S = 0.1


async def keep_analysts_low(url: str, postmaster_pid: int) -> None:
    """Lower the backend of every analyst of a server on this machine, until cancelled."""
    import psycopg

    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
            ) as connection:
                while True:
                    done = await _lower_all(connection, postmaster_pid)
                    await asyncio.sleep(LOOK_EVERY_S if done else RETRY_AFTER_S)
        except psycopg.Error:  # it ends, or has no connection to spare
            await asyncio.sleep(LOOK_EVERY_S)


async def _lower_all(connection: Any, postmaster_pid: int) -> bool:
    cursor = await connection.execute(sql.query("list_analyst_backends"))
    backends = [pid for (pid,) in await cursor.fetchall()]
    return all(lower(pid) for pid in backends if _is_child(pid, postmaster_pid))


def _is_child(pid: int, parent_pid: int) -> bool:
    """Tell whether the process is still the parent's, and not another that got its number."""
    try:
        return psutil.Process(pid).ppid() == parent_pid
    except psutil.Error:
        return False


def lower(pid: int) -> bool:
    """Give the process the lowest priority; return False when that is to be tried again.

    A process that is gone, a system without this, or a lack of permission is not an error.
    """
    autogroup = Path(f"/proc/{pid}/autogroup")
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        if not autogroup.read_text().endswith(f" nice {NICENESS}\n"):
            autogroup.write_text(str(NICENESS))
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
