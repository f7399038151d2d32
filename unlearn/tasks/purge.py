"""Purge: destroy what descends from the forgotten, and the forgotten rows with their salts.

Every step is idempotent: marked in the catalogue first, then destroyed, so that whatever a crash
leaves is found again by the next execution.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from pyroaring import BitMap
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.data.retained import live
from lineage.provenance.selection import measures
from lineage.store import Store
from lineage.training import ownership
from lineage.training.registry import kept_under_hold
from storage.catalogue import tables
from unlearn.dispatch.worker import Context
from unlearn.erase import destroy, erase_rows, sweep
from unlearn.errors import TaskError
from unlearn.impact import Impact, impact
from unlearn.plan.model import Purge
from unlearn.request.reading import forget_sets


def execute(context: Context) -> dict[str, Any]:
    """Purge checkpoints, artefacts and versions; erase rows; close the requests.

    Raises:
        TaskError: something in use has come to descend from the forgotten since; plan again.
    """
    work = context.task.work
    assert isinstance(work, Purge)
    store = context.store
    # Under the lock: what is published meanwhile is seen here, or sees what is marked here.
    with context.writing() as session:
        rows = forget_sets(session, context.plan.requests)
        held = kept_under_hold(session)
        # Rows that are erased show no way on: what the plan knew holds for a second attempt.
        found = impact(store, rows, also=context.plan.affected.segments)
        _nothing_new(session, context, work, found)
        artefacts = {*work.checkpoints, *work.fits, *found.checkpoints, *found.fits}
        _mark(session, store.clock(), artefacts | {*work.versions, *found.versions})
        running = _running(session, _with_tainted(rows, found), artefacts)
        ownership.stop(session, store, running)
        _erase_measures(session, _with_tainted(rows, found))
    # Every deletion is fenced: another owner may take the plan between any two transactions.
    destroyed = destroy(store, artefacts, context.writing)
    tainted = _with_tainted(rows, found)
    redacted = erase_rows(store, tainted, context.plan_id, context.writing)
    sweep(store, context.writing)
    _close(context)
    return {
        "purged_checkpoints": len(set(work.checkpoints) - held),
        "purged_versions": sorted(set(work.versions) - held),
        "destroyed_objects": destroyed,
        "erased_records": sum(map(len, rows.values())),
        "redacted_chunks": redacted,
        "residuals": [
            *_inputs(store, rows),
            *_named("hold", sorted(held & {*artefacts, *work.versions}), "kept under a hold"),
            *_named("run", running, _UNDER_WAY),
            *_recipients(store, found),
            *_named("backup", [str(store.path)], "copies of this store are not reached"),
        ],
    }


def _nothing_new(session: Session, context: Context, work: Purge, found: Impact) -> None:
    """Live versions that this plan neither replaced nor knew may not descend from the forgotten."""
    alive = select(tables.ModelVersion.id).where(tables.ModelVersion.purged_at.is_(None))
    new = (found.versions & set(session.scalars(alive))) - set(work.versions)
    if new:
        raise TaskError(
            f"{', '.join(sorted(new))} came to descend from the forgotten records since the plan",
            hint=f"plan again: expunge plan {' '.join(context.plan.requests)}",
        )


def _mark(session: Session, now: datetime, ids: set[str]) -> None:
    """Nothing of this can be loaded from here on; what is held is in quarantine."""
    for table in (tables.Checkpoint, tables.Fit, tables.ModelVersion):
        gone = update(table).where(table.id.in_(ids), table.purged_at.is_(None))
        session.execute(gone.values(purged_at=now))


def _erase_measures(session: Session, rows: Positions) -> None:
    """What was measured on the forgotten rows may be one of their values: the names stay."""
    for measure, _ in measures(session, rows):
        measure.metrics = dict.fromkeys(measure.metrics)


def _running(session: Session, rows: Positions, artefacts: set[str]) -> list[str]:
    """The runs under way that began with rows that are erased, or with what descends from them."""
    run, model = tables.Run, tables.RunModel
    given, version = tables.RunInput, tables.DatasetVersion
    under_way = select(run.id).where(run.state == "running")
    starts = session.execute(select(run.id, run.start_id).where(run.id.in_(under_way)))
    read = select(model.run_id, model.checkpoint_id).where(model.run_id.in_(under_way))
    sources = (*starts.all(), *session.execute(read).all())
    began = {run_id for run_id, source in sources if source in artefacts}
    inputs = select(given.run_id, version).join(version, version.id == given.version_id)
    for run_id, each in session.execute(inputs.where(given.run_id.in_(under_way))):
        if live(each) & rows.get(each.dataset_id, BitMap()):
            began.add(run_id)
    return sorted(began)


def _with_tainted(rows: Positions, found: Impact) -> Positions:
    """The forgotten rows, and those a transform made with them in sight."""
    return {
        dataset: rows.get(dataset, BitMap()) | found.closure.tainted.get(dataset, BitMap())
        for dataset in rows.keys() | found.closure.tainted.keys()
    }


def _close(context: Context) -> None:
    """The requests are done; their subjects' keys are destroyed, which unlinks every pseudonym."""
    with context.writing() as session:
        for request_id in context.plan.requests:
            request = session.get_one(tables.Request, request_id)
            request.state = "done"
            request.closed_at = context.store.clock()
        fences = select(tables.Suppression.fingerprint).where(
            tables.Suppression.request_id.in_(context.plan.requests)
        )
        for mark in session.scalars(fences).all():
            secret = session.get(tables.Secret, mark)
            if secret is not None:
                session.delete(secret)
        leases = select(tables.Lease).where(tables.Lease.plan_id == context.plan_id)
        for lease in session.scalars(leases):
            session.delete(lease)


_UNDER_WAY = "it was under way, and began with what is purged: nothing more of it is kept"


def _named(kind: str, names: Iterable[str], why: str) -> Iterator[dict[str, str]]:
    """What this store cannot destroy, and why somebody else must."""
    yield from ({"kind": kind, "name": each, "why": why} for each in names)


def _inputs(store: Store, rows: Positions) -> list[dict[str, str]]:
    """The files that rows were copied from, once each; what transforms wrote came from no file."""
    part, version = tables.Part, tables.DatasetVersion
    made = select(version.dataset_id).join(
        tables.Transform, tables.Transform.output_id == version.id
    )
    with store.catalogue.read() as session:
        parts = select(part.source).where(
            part.dataset_id.in_(list(rows)), part.dataset_id.not_in(made)
        )
        files = dict.fromkeys(session.scalars(parts.order_by(part.created_at)))
        return [*_named("input-file", files, "rows were copied from it")]


def _recipients(store: Store, found: Impact) -> list[dict[str, str]]:
    """Whoever was given a version that learned from the forgotten, and has it still."""
    published = tables.Publication
    with store.catalogue.read() as session:
        given = select(published).where(
            published.id.in_(found.publications), published.withdrawn_at.is_(None)
        )
        return [
            {
                "kind": "recipient",
                "name": each.recipient,
                "why": f"{each.version_id}, which learned from the forgotten, was given to them",
            }
            for each in session.scalars(given.order_by(published.created_at))
        ]
