"""Erasing rows and salts from every chunk that holds them, and what crashes left of them.

The rows' commitments stay.
"""

from collections.abc import Collection, Iterator
from datetime import datetime

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.data.version import chunks_of, contains
from lineage.store import Store
from lineage.training.registry import kept_under_hold
from storage import manifests
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.intake import Column
from unlearn.twin.compare import sweep_twins


def erase_rows(store: Store, rows: Positions, plan_id: str) -> int:
    """Null the rows in new chunks and destroy the old ones; returns how many chunks changed."""
    for dataset_id, positions in rows.items():
        with store.catalogue.read() as session:
            chunks = chunks_of(session, dataset_id, 2**62)
        for chunk in chunks:
            index = manifests.read_index(store.objects, (chunk,))
            if contains(positions, index.positions).any():
                _replace(store, chunk, manifests.redact(store.objects, chunk, positions), plan_id)
        _forget_labels(store, dataset_id)
    return _destroy_old(store, plan_id)


def destroy(store: Store, artefacts: Collection[str]) -> int:
    """Delete the objects of purged checkpoints and fitted artefacts; returns how many files went.

    What a hold keeps stays, and so does an object that something in use refers to as well.
    """
    with store.catalogue.read() as session:
        held = kept_under_hold(session)
        rows = list(_objects(session))
    doomed = {blob for artefact, blob, _ in rows if artefact in artefacts and artefact not in held}
    kept = {blob for artefact, blob, purged in rows if purged is None or artefact in held}
    return sum(store.objects.delete(blob) for blob in sorted(doomed - kept))


def sweep(store: Store) -> int:
    """Destroy what nothing refers to: objects and twins of writers that died, and temporary files.

    Writers put an object first and refer to it later, in a transaction that makes sure that it is
    still there; so the write lock is all that is needed here. Returns how many files went.
    """
    with store.catalogue.write() as session:
        kept = set(referenced(session))
        orphans = [digest for digest in store.objects if digest not in kept]
        for digest in orphans:
            store.objects.delete(digest)
    sweep_twins(store)
    return len(orphans) + store.objects.sweep_temporary()


def referenced(session: Session) -> Iterator[str]:
    """The digest of every object that something kept refers to; what is held is kept."""
    held = kept_under_hold(session)
    rows = _objects(session)
    yield from (blob for name, blob, purged in rows if purged is None or name in held)
    for manifest, data in session.execute(select(tables.Chunk.manifest, tables.Chunk.data)):
        yield manifest
        yield data
    yield from session.scalars(select(tables.Transform.mapping))
    yield from session.scalars(select(tables.RecordingFile.object))


def _objects(session: Session) -> Iterator[tuple[str, str, datetime | None]]:
    """Every checkpoint and artefact, its object, and when it was purged."""
    for table in (tables.Checkpoint, tables.Fit):
        for row in session.execute(select(table.id, table.object, table.purged_at)):
            yield row[0], row[1], row[2]


def _replace(store: Store, old: manifests.Chunk, new: manifests.Chunk, plan_id: str) -> None:
    with store.catalogue.write() as session:
        store.objects.require(new.manifest, new.data)
        row = session.scalars(
            select(tables.Chunk).where(
                tables.Chunk.manifest == old.manifest, tables.Chunk.data == old.data
            )
        ).one()
        for kind in ("manifest", "data"):
            session.add(
                tables.Redaction(
                    id=new_id("redact"),
                    chunk_id=row.id,
                    plan_id=plan_id,
                    kind=kind,
                    old=getattr(old, kind),
                    new=getattr(new, kind),
                    created_at=store.clock(),
                )
            )
        row.manifest = new.manifest
        row.data = new.data


def _forget_labels(store: Store, dataset_id: str) -> None:
    """Erase category labels that no row has any more; their codes stay."""
    with store.catalogue.write() as session:
        dataset = session.get_one(tables.Dataset, dataset_id)
        columns = tuple(Column.model_validate(column) for column in dataset.columns)
        labelled = [column for column in columns if column.categories]
        chunks = chunks_of(session, dataset_id, 2**62)
        found = manifests.read_rows(store.objects, chunks, labelled)
        codes = {name: set(np.unique(column).tolist()) for name, column in found.items()}
        dataset.columns = [
            column.keeping(codes.get(column.name, set())).model_dump(mode="json")
            for column in columns
        ]


def _destroy_old(store: Store, plan_id: str) -> int:
    """Delete the files that redactions replaced; also those a crash left."""
    with store.catalogue.read() as session:
        replaced = session.execute(
            select(tables.Redaction.chunk_id, tables.Redaction.old).where(
                tables.Redaction.plan_id == plan_id
            )
        ).all()
        kept = _in_use(session)
    for _, digest in replaced:
        if digest not in kept:
            store.objects.delete(digest)
    return len({chunk for chunk, _ in replaced})


def _in_use(session: Session) -> set[str]:
    rows = session.execute(select(tables.Chunk.manifest, tables.Chunk.data)).all()
    return {digest for row in rows for digest in row}
