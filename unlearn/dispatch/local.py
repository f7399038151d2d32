"""Workers as processes on this machine."""

import os
import signal
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from lineage.store import Store
from storage import child
from storage.processes import this_process
from unlearn.dispatch.journal import Ownership
from unlearn.dispatch.worker import Options, work


def _begin(owner: str, safe_path: str | None) -> None:
    """Begin as a worker: it ends with its owner, and prints nothing to standard output.

    Ctrl-C reaches every process: a worker ends at once, as by a crash, and says nothing. What a
    program prints goes to standard error: standard output is for the answer alone.
    """
    child.end_with(owner)
    child.restore_path(safe_path)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(2, 1)


class LocalWorkers:
    """A pool of spawned processes; each opens the store for itself."""

    def __init__(self, store: Store, workers: int) -> None:
        self._store = store
        self.size = workers
        begin = this_process(), os.environ.get(child.SAFE_PATH)
        with child.safe_path():  # the process that tracks semaphores is started here
            self._pool = ProcessPoolExecutor(
                workers, mp_context=get_context("spawn"), initializer=_begin, initargs=begin
            )

    def submit(self, ownership: Ownership, task_id: str, options: Options) -> "Future[None]":
        """Start a task; the first one starts the processes."""
        with child.safe_path():
            return self._pool.submit(work, self._store.path, ownership, task_id, options)

    def close(self) -> None:
        """Drop what has not started, wait for the rest."""
        self._pool.shutdown(cancel_futures=True)
