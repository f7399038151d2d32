"""Workers that are no processes at all: each task runs here, at once, as a debugger likes it."""

from concurrent.futures import Future

from lineage.store import Store
from unlearn.dispatch.journal import Ownership
from unlearn.dispatch.worker import Options, perform


class InProcess:
    """Carries out each task when it is submitted."""

    size = 1

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, ownership: Ownership, task_id: str, options: Options) -> "Future[None]":
        """Carry out a task; errors are raised here."""
        perform(self._store, ownership, task_id, options)
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def close(self) -> None:
        """There is nothing to close."""
