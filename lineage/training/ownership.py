"""Who executes a run: one process at a time, and none that was taken for dead.

An owner shows life at each checkpoint. Another process may take the run over once the owner is
gone, or has shown no life for a while on a host that cannot be seen; from then on nothing that the
former owner does is kept.
"""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from lineage.errors import RunError, RunStoppedError
from lineage.store import Store
from lineage.training.upstream import require_sources
from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.processes import claim, claimant, is_claimed, this_process


def take(store: Store, run_id: str, *, overtake: bool = False) -> tables.Run:
    """Own a run that is not complete; ``overtake`` takes it from a living owner too.

    Raises:
        NotFoundError: there is no such run.
        RunError: the run is complete, or another process is executing it.
    """
    with store.catalogue.write() as session:
        row = session.get(tables.Run, run_id)
        if row is None:
            raise NotFoundError(f"there is no run {run_id}", hint="see `expunge run list`")
        if row.state == "complete":
            raise RunError(f"run {run_id} is complete", hint=f"see `expunge show {run_id}`")
        now = store.clock()
        if row.owner is not None and not overtake and is_claimed(row.owner, now):
            raise RunError(
                f"run {run_id} is being executed by process {claimant(row.owner)}",
                hint="wait for it, or stop that process first",
            )
        row.owner = claim(this_process(), now)
        row.state = "running"
        row.ended_at = None
    return row


def keep(session: Session, store: Store, run_id: str, owner: str) -> None:
    """Show that the owner of a run lives, before something of it is written.

    Raises:
        RunStoppedError: a plan erases rows that it was given.
        RunError: another process took the run over; what this one made is dropped.
    """
    row = session.get_one(tables.Run, run_id)
    _require(session, store, row, owner)
    row.owner = claim(owner, store.clock())


def let_go(store: Store, run_id: str, owner: str, state: str) -> None:
    """End an execution in a state; a run that was taken over stays as it is.

    Raises:
        RunStoppedError: a plan erases rows that it was given.
        RunError: it was taken over, and this execution came to its end nevertheless.
    """
    with store.catalogue.write() as session:
        row = session.get_one(tables.Run, run_id)
        if state == "complete":
            _require(session, store, row, owner)
        if _is_owner(row, owner):
            row.owner = None
            row.state = state
            row.ended_at = store.clock()


def stop(session: Session, store: Store, run_ids: Iterable[str]) -> None:
    """Stop runs, whoever executes them: nothing that they make from now on is kept."""
    for run_id in run_ids:
        row = session.get_one(tables.Run, run_id)
        row.owner = None
        row.state = "stopped"
        row.ended_at = store.clock()


def _is_owner(row: tables.Run, owner: str) -> bool:
    return row.owner is not None and claimant(row.owner) == owner


def _require(session: Session, store: Store, row: tables.Run, owner: str) -> None:
    if row.owner is None and row.state == "stopped":
        require_sources(session, store, row.id)
        raise RunStoppedError(
            f"run {row.id} was stopped by a plan, which erases rows that it was given",
            hint="nothing of it is published; train again from the newest versions",
        )
    if not _is_owner(row, owner):
        raise RunError(
            f"run {row.id} was taken over by another process; this one's work is dropped",
            hint=f"see `expunge show {row.id}`",
        )
