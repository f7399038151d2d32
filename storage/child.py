"""Child processes: they end with the process that started them, however that one ends.

Run as ``python -P -m storage.child OWNER COMMAND…`` it is a guard: it executes a command, and kills
it with all that descends from it when the owner is gone.

Nothing of this package is imported from the working directory (``-P``): a file there that is named
as a module of Python's would be executed in its place.
"""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import NoReturn

from storage.processes import is_alive, this_process

INTERVAL = 0.5
"""Seconds between two looks at the owner."""

SAFE_PATH = "PYTHONSAFEPATH"
"""The variable that means ``-P`` to every Python that inherits it."""

_exit = os._exit  # a program's calls of it may be told, and nothing is to be told here
_ENDED = 128 + signal.SIGTERM


def python(module: str, *words: str) -> list[str]:
    """Return the command that runs a module of this package."""
    return [sys.executable, "-P", "-m", module, *words]


def run(
    command: Sequence[str],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,  # noqa: A002
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, as `subprocess.run` does, with what it prints in the result.

    It ends, with all that it started, when this process ends or is interrupted.
    """
    words = python("storage.child", this_process(), *command)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words,
        cwd=cwd,
        env=env,
        stdin=None if input is None else pipe,
        stdout=pipe,
        stderr=pipe,
        encoding="utf-8",
        errors="replace",
    ) as guard:
        try:
            printed, errors = guard.communicate(input)
        except BaseException:
            guard.terminate()
            raise
    return subprocess.CompletedProcess(list(command), guard.returncode, printed, errors)


def end_with(owner: str) -> None:
    """End this process, and all that it started, within a second after another one has ended."""
    Thread(target=_watch, args=(owner,), name="watch-owner", daemon=True).start()


@contextmanager
def safe_path() -> Iterator[None]:
    """Let processes that are started in this block import nothing from the working directory.

    For those of `multiprocessing`, whose command cannot be chosen. They call `restore_path`.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        restore_path(before)


def restore_path(before: str | None) -> None:
    """Set the variable as it was: commands of the user's find their modules as they always do."""
    if before is None:
        os.environ.pop(SAFE_PATH, None)
    else:
        os.environ[SAFE_PATH] = before


def _watch(owner: str) -> NoReturn:
    while is_alive(owner):
        time.sleep(INTERVAL)
    _end()


def _end() -> NoReturn:
    """End this process and its descendants now: nobody is left whom they could answer."""
    for each in _descendants(os.getpid()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)
    _exit(_ENDED)


def _descendants(pid: int) -> list[int]:
    """Return the ids of a process's descendants, as far as ``/proc`` shows them; parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            _, parent, *_ = stat.read_text().rpartition(")")[2].split()
            children[int(parent)].append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children[each]
    return found[1:]


def _guard(owner: str, command: Sequence[str]) -> int:
    """Execute a command, and return its status; negative where a signal ended it."""
    signal.signal(signal.SIGTERM, lambda *_: _end())
    end_with(owner)
    try:
        started = subprocess.Popen(command)
    except OSError as error:
        print(error, file=sys.stderr)
        return 127
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command was interrupted too: it decides
    return started.wait()


if __name__ == "__main__":
    status = _guard(sys.argv[1], sys.argv[2:])
    if status < 0:
        with suppress(OSError):  # the action of SIGKILL cannot be set, and need not
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
