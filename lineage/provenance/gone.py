"""What nobody can tell any more: which steps trained on rows that are erased.

A row of a transform is erased with anybody who had a part in it, though others, who stay, had one
too. Its key is gone, and with it the steps that it was in.
"""

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.data.keyless import keyless
from lineage.data.retained import live
from lineage.provenance.reach import NOW, Moment
from lineage.store import Store
from storage.catalogue import tables


def gone_runs(
    store: Store, session: Session, records: Positions, moment: Moment = NOW
) -> tuple[str, ...]:
    """Return the runs that were given rows among these (dataset id → positions) erased since.

    Of several shards each may have been given them. In which steps they were nobody can tell.
    """
    erased: Positions = {}
    for dataset, rows in keyless(store, session, records):
        erased[dataset] = erased.get(dataset, BitMap()) | rows
    version, given, run = tables.DatasetVersion, tables.RunInput, tables.Run
    inputs = (
        select(given.run_id, version)
        .join(version, version.id == given.version_id)
        .join(run, run.id == given.run_id)
        .where(version.dataset_id.in_(list(erased)))
        .order_by(run.created_at, run.id)
    )
    if moment.run is not None:
        inputs = inputs.where(given.run_id == moment.run)
    if moment.at is not None:
        inputs = inputs.where(run.first_step <= moment.at)
    found = (
        run_id for run_id, row in session.execute(inputs) if live(row) & erased[row.dataset_id]
    )
    return tuple(dict.fromkeys(found))


def is_gone(session: Session, run_id: str) -> bool:
    """Return True if a run has checkpoints, and all of them are purged."""
    purged = select(tables.Checkpoint.purged_at).where(tables.Checkpoint.run_id == run_id)
    found = session.scalars(purged).all()
    return bool(found) and all(found)
