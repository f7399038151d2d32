"""Purge: destroy what descends from the forgotten, and the forgotten rows with their salts.

Every step is idempotent: marked in the catalogue first, then destroyed, so that whatever a crash
leaves is found again by the next execution.
"""

from typing import Any

from pyroaring import BitMap
from sqlalchemy import select, update

from lineage.data.identity import Positions
from lineage.store import Store
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
    with store.catalogue.read() as session:
        rows = forget_sets(session, context.plan.requests)
        held = kept_under_hold(session)
    # Rows that are erased show no way on: what the plan knew holds for a second attempt.
    found = impact(store, rows, also=context.plan.affected.segments)
    _nothing_new(store, context, work, found)
    artefacts = {*work.checkpoints, *work.fits, *found.checkpoints, *found.fits}
    _mark(context, artefacts | {*work.versions, *found.versions})
    destroyed = destroy(store, artefacts)
    redacted = erase_rows(store, _with_tainted(rows, found), context.plan_id)
    sweep(store)
    _close(context)
    return {
        "purged_checkpoints": len(set(work.checkpoints) - held),
        "purged_versions": sorted(set(work.versions) - held),
        "destroyed_objects": destroyed,
        "erased_records": sum(map(len, rows.values())),
        "redacted_chunks": redacted,
        "residuals": _residuals(store, rows, sorted(held & {*artefacts, *work.versions})),
    }


def _nothing_new(store: Store, context: Context, work: Purge, found: Impact) -> None:
    """Live versions that this plan neither replaced nor knew may not descend from the forgotten."""
    with store.catalogue.read() as session:
        alive = select(tables.ModelVersion.id).where(tables.ModelVersion.purged_at.is_(None))
        new = (found.versions & set(session.scalars(alive))) - set(work.versions)
    if new:
        raise TaskError(
            f"{', '.join(sorted(new))} came to descend from the forgotten records since the plan",
            hint=f"plan again: expunge plan {' '.join(context.plan.requests)}",
        )


def _mark(context: Context, ids: set[str]) -> None:
    """Nothing of this can be loaded from here on; what is held is in quarantine."""
    now = context.store.clock()
    with context.writing() as session:
        for table in (tables.Checkpoint, tables.Fit, tables.ModelVersion):
            gone = update(table).where(table.id.in_(ids), table.purged_at.is_(None))
            session.execute(gone.values(purged_at=now))


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


def _residuals(store: Store, rows: Positions, held: list[str]) -> list[dict[str, str]]:
    """What this store cannot destroy, and who must."""
    with store.catalogue.read() as session:
        parts = session.scalars(
            select(tables.Part).where(tables.Part.dataset_id.in_(list(rows)))
        ).all()
        residuals = [
            {"kind": "input-file", "name": part.source, "why": "rows were copied from it"}
            for part in parts
        ]
    residuals += [{"kind": "hold", "name": each, "why": "kept under a hold"} for each in held]
    residuals.append(
        {"kind": "backup", "name": str(store.path), "why": "copies of this store are not reached"}
    )
    return residuals
