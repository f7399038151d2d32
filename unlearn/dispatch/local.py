"""Workers as processes on this machine."""

import signal
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from lineage.store import Store
from unlearn.dispatch.journal import Ownership
from unlearn.dispatch.worker import Options, work


def _die_of_interrupts() -> None:
    """Ctrl-C reaches every process: a worker ends at once, as by a crash, and says nothing."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class LocalWorkers:
    """A pool of spawned processes; each opens the store for itself."""

    def __init__(self, store: Store, workers: int) -> None:
        self._store = store
        self._pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_die_of_interrupts
        )

    def submit(self, ownership: Ownership, task_id: str, options: Options) -> "Future[None]":
        """Start a task."""
        return self._pool.submit(work, self._store.path, ownership, task_id, options)

    def close(self) -> None:
        """Drop what has not started, wait for the rest."""
        self._pool.shutdown(cancel_futures=True)
