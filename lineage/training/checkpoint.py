"""Checkpoints: full training state after an optimizer step, published or not at all.

The blob is durable first; then one transaction writes checkpoint, segment and commitment.
"""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lineage.errors import CheckpointError
from lineage.store import Store
from lineage.training import ownership
from lineage.training import recording as recordings
from lineage.training import state as codec
from lineage.training.lap import Lap
from lineage.training.upstream import require_sources
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError
from storage.exposures import File


def publish(
    store: Store,
    run_id: str,
    step: int,
    state: Mapping[str, object],
    lap: Lap,
    environment: str,
    visits: File | None = None,
    owner: str | None = None,
) -> str:
    """Make the state after ``step`` steps of a run durable; returns the checkpoint's id.

    Where the segment is empty the state was changed without a step, after an earlier checkpoint.
    ``visits`` is the log of what its segment was given, where the run draws a recording. ``owner``
    is the process that may publish: that which claimed the run.

    Raises:
        StateError: the state does not survive its own encoding; nothing was published.
        RunStoppedError: something that the run was made from is purged; nothing was published.
        RunError: another process took the run over; nothing was published.
    """
    data, digest = codec.encode_verified(state)
    blob = store.objects.put(data)
    checkpoint = tables.Checkpoint(
        id=new_id("ckpt"),
        run_id=run_id,
        step=step,
        edition=0,
        object=blob,
        digest=digest,
        size=len(data),
        consumed=lap.consumed,
        created_at=store.clock(),
    )
    content: dict[str, str | int] = {
        "run": run_id,
        "step": step,
        "digest": digest,
        "consumed": lap.consumed,
    }
    with store.catalogue.write() as session:
        if owner is not None:
            ownership.keep(session, store, run_id, owner)
        require_sources(session, store, run_id)
        store.objects.put_again(blob, data)
        if lap.first_step == step:
            checkpoint.edition = _next_edition(session, run_id, step)
        if checkpoint.edition:
            content["edition"] = checkpoint.edition
        session.add(checkpoint)
        session.flush()
        session.add(
            tables.Segment(
                id=new_id("seg"),
                run_id=run_id,
                checkpoint_id=checkpoint.id,
                first_step=lap.first_step,
                visits=lap.visits,
                seconds=lap.seconds,
                skipped=lap.skipped,
                environment=environment,
            )
        )
        if visits is not None:
            drawn = session.get_one(tables.RunRecording, run_id)
            recordings.add(session, store, drawn.recording_id, visits)
        ledger.commit(session, "checkpoint", checkpoint.id, content, store.clock())
    return checkpoint.id


def load(store: Store, checkpoint_id: str) -> dict[str, object]:
    """The state in a checkpoint, its bytes and its digest verified.

    Raises:
        NotFoundError: there is no such checkpoint.
        CheckpointError: it was purged, is held, or holds another state than its digest says.
        CorruptObjectError: its bytes are damaged or gone.
    """
    with store.catalogue.read() as session:
        checkpoint = session.get(tables.Checkpoint, checkpoint_id)
        held = _quarantined(session, checkpoint_id)
    if checkpoint is None:
        raise NotFoundError(
            f"there is no checkpoint {checkpoint_id}", hint="see `expunge run list`"
        )
    if checkpoint.purged_at is not None:
        what = "is quarantined under a hold" if held else "was purged"
        raise CheckpointError(
            f"checkpoint {checkpoint_id} {what} on {checkpoint.purged_at:%Y-%m-%d}",
            hint="it descends from forgotten records or made room: use the newest version",
        )
    state = codec.decode(store.objects.get(checkpoint.object))
    if codec.digest(state) != checkpoint.digest:
        raise CheckpointError(
            f"checkpoint {checkpoint_id} does not hold the state its digest names",
            hint="restore its object from a backup, or plan again: an earlier one will be used",
        )
    return state


def newest(session: Session, run_id: str) -> tables.Checkpoint | None:
    """The last checkpoint of a run that was not purged."""
    return session.scalar(
        select(tables.Checkpoint)
        .where(tables.Checkpoint.run_id == run_id, tables.Checkpoint.purged_at.is_(None))
        .order_by(tables.Checkpoint.step.desc(), tables.Checkpoint.edition.desc())
        .limit(1)
    )


def _next_edition(session: Session, run_id: str, step: int) -> int:
    """Return the number of a state that changed without a step; 0 where it is the first there."""
    last = session.scalar(
        select(func.max(tables.Checkpoint.edition)).where(
            tables.Checkpoint.run_id == run_id, tables.Checkpoint.step == step
        )
    )
    return 0 if last is None else last + 1


def _quarantined(session: Session, checkpoint_id: str) -> bool:
    """Whether a hold keeps a checkpoint, or a version that it is a member of."""
    versions = select(tables.ModelMember.version_id).where(
        tables.ModelMember.checkpoint_id == checkpoint_id
    )
    artefacts = [checkpoint_id, *session.scalars(versions)]
    held = select(tables.Hold.id).where(
        tables.Hold.artefact_id.in_(artefacts), tables.Hold.released_at.is_(None)
    )
    return session.scalar(held.limit(1)) is not None
