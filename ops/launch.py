"""Start a program that ends when the process that started it does.

    python launch.py SIGNAL UID:GID PARENT_PID PROGRAM [ARGUMENT ...]

A preexec_fn could do this, but it runs Python between fork and exec, which may deadlock in a
process with threads. UID:GID may be `-`: stay who we are. SIGNAL is sent on the parent's death
(Linux only; elsewhere a program outlives a parent that was killed, until the next start finds it).
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def launch(signal_number: int, owner: str, parent_pid: int, program: list[str]) -> None:
    """Become `program`, as `owner`."""
    if owner != "-":
        uid, gid = map(int, owner.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # The kernel forgets the wish when credentials change, so it comes after setuid.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(1)
    os.execv(program[0], program)


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
