"""Which process owns a piece of work, and whether it still lives."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """The name of this process: host, process id and start time, so a reused id is told apart."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def is_alive(owner: str) -> bool:
    """Whether the process still runs; one on another host is taken to.

    >>> is_alive(this_process())
    True
    """
    if not is_local(owner):
        return True
    _, pid, started = owner.rsplit(":", 2)
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started(int(pid)) == started


def is_local(owner: str) -> bool:
    """Whether the process is of this host, so that its life can be seen."""
    return owner.rsplit(":", 2)[0] == socket.gethostname()


def _started(pid: int) -> str:
    """The start time of a process in clock ticks since boot (proc(5), field 22).

    A zombie has none: it is dead, and in a container nobody may ever collect it.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]
