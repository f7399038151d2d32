"""Workers as processes on this machine."""

import os
import signal
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from lineage.store import Store
from unlearn.dispatch.journal import Ownership
from unlearn.dispatch.worker import Options, work


def _be_quiet() -> None:
    """Ctrl-C reaches every process: a worker ends at once, as by a crash, and says nothing.

    What a program prints goes to standard error: standard output is for the answer alone.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


class LocalWorkers:
    """A pool of spawned processes; each opens the store for itself."""

    def __init__(self, store: Store, workers: int) -> None:
        self._store = store
        self.size = workers
        self._pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_be_quiet
        )

    def submit(self, ownership: Ownership, task_id: str, options: Options) -> "Future[None]":
        """Start a task."""
        return self._pool.submit(work, self._store.path, ownership, task_id, options)

    def close(self) -> None:
        """Drop what has not started, wait for the rest."""
        self._pool.shutdown(cancel_futures=True)
