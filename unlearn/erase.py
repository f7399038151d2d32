"""Erasing rows and salts from every chunk that holds them, and what crashes left of them.

The rows' commitments stay.

Every file is deleted inside a write transaction of its own or of some files together. Whoever does
it for a plan gives ``writing``, which refuses each transaction once another owner took the plan:
nobody can take it while a transaction lasts, so what lost its plan deletes nothing more.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from datetime import datetime

import numpy as np
from pyroaring import BitMap
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.data.version import chunks_of, contains
from lineage.store import Store
from lineage.training.registry import kept_under_hold
from storage import manifests
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import CorruptObjectError
from storage.intake import Column
from unlearn.twin.compare import sweep_twins

SWEPT_TOGETHER = 256
"""Objects that are destroyed under one write lock."""

Writing = Callable[[], AbstractContextManager[Session]]
"""Begins a write transaction, as `Catalogue.write` does; or refuses it."""


def erase_rows(store: Store, rows: Positions, plan_id: str, writing: Writing | None = None) -> int:
    """Null the rows in new chunks and destroy the old ones; returns how many chunks changed."""
    writing = writing or store.catalogue.write
    for dataset_id, positions in rows.items():
        for first in _first_positions(store, dataset_id):
            with store.objects.claiming():
                while not _redacted(store, writing, dataset_id, first, positions, plan_id):
                    pass  # another erasure replaced the chunk meanwhile: begin with what it left
        _forget_labels(store, writing, dataset_id)
    return _destroy_old(store, writing, plan_id)


def destroy(store: Store, artefacts: Collection[str], writing: Writing | None = None) -> int:
    """Delete the objects of purged checkpoints and fitted artefacts; returns how many files went.

    What a hold keeps stays, and so does an object that something in use refers to as well.
    """
    # Under the write lock: nobody begins to refer to an equal object, or to hold one, meanwhile.
    with (writing or store.catalogue.write)() as session:
        held = kept_under_hold(session)
        rows = list(_objects(session))
        doomed = {each for name, each, _ in rows if name in artefacts and name not in held}
        kept = {each for name, each, purged in rows if purged is None or name in held}
        return sum(store.objects.delete(blob) for blob in sorted(doomed - kept))


def sweep(store: Store, writing: Writing | None = None) -> int:
    """Destroy what nothing refers to: objects, secrets and twins of writers that died, and drafts.

    Writers put an object first and refer to it later: they claim it until then, or look in their
    transaction whether it is still there. What goes is decided and destroyed under the write lock,
    some at a time, so that writers need not wait for all of it. Returns how many files went.
    """
    writing = writing or store.catalogue.write
    with store.catalogue.read() as session:
        kept = set(referenced(session))
    orphans = [digest for digest in store.objects if digest not in kept]
    swept = 0
    for first in range(0, len(orphans), SWEPT_TOGETHER):
        with writing() as session:
            kept = set(referenced(session)) | store.objects.claimed()
            some = (each for each in orphans[first : first + SWEPT_TOGETHER] if each not in kept)
            swept += sum(store.objects.delete(digest) for digest in some)
    with writing() as session:
        swept += store.keys.sweep(session)
        sweep_twins(store)
        return swept + store.objects.sweep_temporary()


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


def _first_positions(store: Store, dataset_id: str) -> list[int]:
    with store.catalogue.read() as session:
        return [chunk.first_position for chunk in chunks_of(session, dataset_id, 2**62)]


def _redacted(
    store: Store,
    writing: Writing,
    dataset_id: str,
    first: int,
    positions: BitMap,
    plan_id: str,
) -> bool:
    """Null rows of the chunk that begins at a position; False if it has to be done again."""
    of = tables.Chunk.dataset_id == dataset_id, tables.Chunk.first_position == first
    with store.catalogue.read() as session:
        row = session.scalars(select(tables.Chunk).where(*of)).one()
    old = manifests.Chunk(row.first_position, row.rows, row.manifest, row.data)
    try:
        index = manifests.read_index(store.objects, (old,))
        if not contains(positions, index.positions).any():
            return True
        new = manifests.redact(store.objects, old, positions)
    except CorruptObjectError:
        if _is_current(store, old):
            raise
        return False
    return _replaced(store, writing, old, new, plan_id)


def _is_current(store: Store, chunk: manifests.Chunk) -> bool:
    """Return True if the catalogue still refers to the files of a chunk."""
    with store.catalogue.read() as session:
        return session.scalar(_row_of(chunk)) is not None


def _row_of(chunk: manifests.Chunk) -> Select[tables.Chunk]:
    return select(tables.Chunk).where(
        tables.Chunk.manifest == chunk.manifest, tables.Chunk.data == chunk.data
    )


def _replaced(
    store: Store, writing: Writing, old: manifests.Chunk, new: manifests.Chunk, plan_id: str
) -> bool:
    """Put a chunk in the place of another; False where that is not there any more."""
    with writing() as session:
        row = session.scalar(_row_of(old))
        if row is None:
            return False
        store.objects.require(new.manifest, new.data)
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
        return True


def _forget_labels(store: Store, writing: Writing, dataset_id: str) -> None:
    """Erase category labels that no row has any more; their codes stay."""
    with writing() as session:
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


def _destroy_old(store: Store, writing: Writing, plan_id: str) -> int:
    """Delete the files that redactions replaced; also those a crash left."""
    with writing() as session:
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
