"""Which process owns a piece of work, and whether it still lives."""

import os
import socket
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

LEASE = timedelta(hours=12)
"""How long an owner on another host is believed since it last showed life."""


def this_process() -> str:
    """The name of this process: host, process id and start, so a reused id is told apart.

    A container that is started again often has the same process ids, and a machine the same times.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def claim(owner: str, now: datetime) -> str:
    """What is kept of an owner who shows life now; `is_claimed` reads it.

    >>> claimant(claim("host:1:2.3", datetime(2026, 12, 1)))
    'host:1:2.3'
    """
    return f"{owner}@{now.timestamp():.0f}"


def claimant(claimed: str) -> str:
    """The owner in a claim."""
    return claimed.partition("@")[0]


def is_claimed(claimed: str, now: datetime) -> bool:
    """Return True if the owner lives; one on another host is believed for as long as `LEASE`."""
    owner, _, seen = claimed.partition("@")
    if is_local(owner):
        return is_alive(owner)
    return bool(seen) and now.timestamp() <= float(seen) + LEASE.total_seconds()


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
    now = _started(int(pid))
    return started in (now, now.partition(".")[0])  # names of before had no boot in them


def is_local(owner: str) -> bool:
    """Whether the process is of this host, so that its life can be seen."""
    return owner.rsplit(":", 2)[0] == socket.gethostname()


def _started(pid: int) -> str:
    """The start time of a process in clock ticks since boot (proc(5), field 22), and which boot.

    A zombie has none: it is dead, and in a container nobody may ever collect it.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else f"{fields[18]}.{_boot()}"


@cache
def _boot() -> str:
    """What tells this boot of the kernel from others, as far as it says."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""
