"""Whether what a run is made from may still be used: nothing that is under way outlives a purge.

A run may begin before records are forgotten, and publish after what it began with was purged for
them. So whatever is published is looked at in the transaction that publishes it.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.fences import erased
from lineage.data.keyless import keyless
from lineage.data.mapping import models_behind, recorded
from lineage.data.retained import live
from lineage.errors import RunStoppedError
from lineage.store import Store
from storage.catalogue import tables

_HINT = "nothing of it is published; train again from the newest versions"


def require_sources(session: Session, store: Store, run_id: str) -> None:
    """Refuse to publish what a run made, where something that it was made from is purged.

    That is its start, the models it was given or has read, its own earlier checkpoints, those of
    the models that made its rows, and its rows.

    Raises:
        RunStoppedError: something is.
    """
    run = session.get_one(tables.Run, run_id)
    lost = purged(session, _sources(session, run), run.id)
    if lost is not None:
        raise RunStoppedError(
            f"run {run_id} descends from checkpoint {lost}, which was purged because it learned "
            "from forgotten records",
            hint=_HINT,
        )
    for version in _inputs(session, run_id):
        given = {version.dataset_id: live(version)}
        rows = erased(session, version.dataset_id) & given[version.dataset_id]
        # Rows that a transform made of forgotten ones go with these, and no request names them.
        for _, beside in keyless(store, session, given, since=run.created_at):
            rows |= beside
        if rows:
            raise RunStoppedError(
                f"run {run_id} was given dataset version {version.id}, {len(rows)} rows of which "
                "have been erased since",
                hint=_HINT,
            )


def require_members(session: Session, members: Iterable[tables.Checkpoint]) -> None:
    """Refuse to make a version of checkpoints that are purged.

    Raises:
        RunStoppedError: one is.
    """
    lost = purged(session, (member.id for member in members))
    if lost is not None:
        raise RunStoppedError(
            f"checkpoint {lost} was purged before it could be published: it learned from forgotten "
            "records",
            hint=_HINT,
        )


def purged(session: Session, checkpoints: Iterable[str], run_id: str | None = None) -> str | None:
    """The first of these checkpoints that was purged, and not only evicted to make room.

    Those of a run, of which there may be many, are looked at with them.
    """
    checkpoint, commitment = tables.Checkpoint, tables.Commitment
    evicted = select(commitment.row_id).where(commitment.kind == "eviction")
    return session.scalar(
        select(checkpoint.id)
        .where(
            checkpoint.id.in_(list(checkpoints)) | (checkpoint.run_id == run_id),
            checkpoint.purged_at.is_not(None),
            checkpoint.id.not_in(evicted),
        )
        .order_by(checkpoint.id)
        .limit(1)
    )


def _sources(session: Session, run: tables.Run) -> Iterator[str]:
    if run.start_id is not None:
        yield run.start_id
    model = tables.RunModel
    yield from session.scalars(select(model.checkpoint_id).where(model.run_id == run.id))
    if recorded(session):
        for version in _inputs(session, run.id):
            yield from models_behind(session, version)


def _inputs(session: Session, run_id: str) -> Iterator[tables.DatasetVersion]:
    given = select(tables.RunInput.version_id).where(tables.RunInput.run_id == run_id)
    for version_id in session.scalars(given):
        yield session.get_one(tables.DatasetVersion, version_id)
