"""`os._exit` in a user's code: it would end the whole command without a word, and with any status.

Python's own children end by it after `os.fork`, and so do threads that watch over a worker: only a
call within a user's code counts. What leaves Python some other way, such as C's ``_exit``, is not
seen.
"""

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_really = os._exit
_inside: Counter[tuple[int, int]] = Counter()
"""How many blocks each thread of each process is in; what is forked counts for itself."""


class OsExit(SystemExit):
    """What a call of `os._exit` becomes in the thread that called the user's code."""


@contextmanager
def exits_raised() -> Iterator[None]:
    """Raise `OsExit` where this thread calls `os._exit` in this block.

    Another thread of the user's cannot be made to end the block: it says so, and the process ends
    with a status that is not 0.
    """
    os._exit = _exit
    caller = os.getpid(), threading.get_ident()
    _inside[caller] += 1
    try:
        yield
    finally:
        _inside[caller] -= 1


def _exit(status: int) -> NoReturn:
    process = os.getpid()
    if _inside[process, threading.get_ident()]:
        raise OsExit(status)
    if any(count for (other, _), count in _inside.items() if other == process):
        print("a thread of the program ended this process by os._exit", file=sys.stderr, flush=True)
        _really(status or 1)
    _really(status)
