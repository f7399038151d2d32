"""Models that a process has read by itself: what it watches descends from them.

A program that is executed is given its models instead, so that they are made again before it is
repeated; it may not read others.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from lineage.data.given import Members
from lineage.errors import ProgramError
from lineage.store import Store

_READ: dict[Path, dict[str, Members]] = defaultdict(dict)
"""The model versions that this process has read, by the path of their store."""

_EXECUTING: ContextVar[str | None] = ContextVar("executing", default=None)
"""The run whose program is executed here."""


def read_in(store: Store) -> Mapping[str, Members]:
    """What this process has read of a store so far, and will: version id → checkpoints."""
    return _READ[store.path]


def note_read(store: Store, version_id: str, members: Members) -> None:
    """Keep that this process reads a model version.

    Raises:
        ProgramError: a program reads it that is being executed.
    """
    run_id = _EXECUTING.get()
    if run_id is not None:
        raise ProgramError(
            f"the program of run {run_id} opens model version {version_id} by itself, and nobody "
            "would know that it learned from it",
            hint="give the run the model: --given NAME=MODEL, and run.given in the program",
        )
    _READ[store.path][version_id] = members


@contextmanager
def executing(run_id: str) -> Iterator[None]:
    """A block in which the program of a run is executed."""
    token = _EXECUTING.set(run_id)
    try:
        yield
    finally:
        _EXECUTING.reset(token)
