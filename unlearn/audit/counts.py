"""What rows of the catalogue say of objects and of each other, worked out again from these."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.version import chunks_of
from lineage.errors import LineageError
from lineage.source import Source
from lineage.store import Store
from lineage.training import state as codec
from lineage.training.aggregation import Aggregation, model_digest, weights_of
from lineage.training.environment import Environment
from lineage.training.registry import kept_under_hold
from storage import ledger, manifests, merkle
from storage.catalogue import tables
from storage.errors import StorageError
from storage.exposures import Kind


def faults_of_rows(session: Session) -> Iterator[str]:
    """Yield a sentence for each digest or count that is another than other rows give."""
    yield from _parts(session)
    yield from _model_versions(session)
    yield from _documents(session)
    yield from _requests(session)


def faults_of_objects(store: Store) -> Iterator[str]:
    """Yield a sentence for each digest or count that is another than an object gives.

    Objects that are missing or damaged are told of elsewhere. The rows are read at once: to read
    all objects may take long, and writers would wait for a session that is open.
    """
    with store.catalogue.read() as session:
        held = kept_under_hold(session)
        checkpoints = session.scalars(select(tables.Checkpoint)).all()
        fits = session.scalars(select(tables.Fit)).all()
        chunks = session.scalars(select(tables.Chunk)).all()
        versions = session.scalars(select(tables.DatasetVersion)).all()
        rows = {each.dataset_id: chunks_of(session, each.dataset_id, 2**62) for each in versions}
        files = session.scalars(select(tables.RecordingFile)).all()
    for checkpoint in checkpoints:
        if checkpoint.purged_at is None or checkpoint.id in held:
            yield from _state(store, checkpoint, checkpoint.size)
    for fit in fits:
        if fit.purged_at is None or fit.id in held:
            yield from _state(store, fit, None)
    yield from _chunks(store, chunks)
    yield from _dataset_versions(store, versions, rows)
    yield from _recordings(store, files)


def _state(store: Store, row: tables.Checkpoint | tables.Fit, size: int | None) -> Iterator[str]:
    """A checkpoint or fitted artefact: the state in it, and its length."""
    if not store.objects.verify(row.object):
        return
    data = store.objects.get(row.object)
    try:
        found = codec.digest(codec.decode(data))
    except LineageError as error:
        yield f"{row.id} holds no state: {error.message}"
        return
    if found != row.digest:
        yield f"{row.id} does not hold the state that its digest names"
    if size not in (None, len(data)):
        yield f"{row.id} has {len(data)} bytes, and the catalogue says {size}"


def _chunks(store: Store, chunks: Sequence[tables.Chunk]) -> Iterator[str]:
    for row in chunks:
        for name, digest in (("manifest", row.manifest), ("data", row.data)):
            if not store.objects.verify(digest):
                continue
            try:
                with pq.ParquetFile(store.objects.open(digest)) as file:
                    rows = file.metadata.num_rows
                    whole = file.read(columns=["position"]) if name == "manifest" else None
            except (OSError, ValueError, StorageError):
                yield f"the {name} of {row.id} is no table of rows"
                continue
            if rows != row.rows:
                yield f"the {name} of {row.id} has {rows} rows, and the catalogue says {row.rows}"
            elif whole is not None and whole.column("position")[0].as_py() != row.first_position:
                yield f"the manifest of {row.id} begins at another position than the catalogue says"


def _parts(session: Session) -> Iterator[str]:
    """Each part is its chunks, one after the other."""
    chunks: dict[str, list[tables.Chunk]] = defaultdict(list)
    for chunk in session.scalars(select(tables.Chunk).order_by(tables.Chunk.first_position)):
        chunks[chunk.part_id].append(chunk)
    for part in session.scalars(select(tables.Part)):
        position = part.first_position
        for chunk in chunks[part.id]:
            if (chunk.first_position, chunk.dataset_id) != (position, part.dataset_id):
                yield f"{chunk.id} is not where {part.id} goes on"
            position += chunk.rows
        if position != part.first_position + part.rows:
            yield f"{part.id} has other rows than its chunks"


def _dataset_versions(
    store: Store,
    versions: Sequence[tables.DatasetVersion],
    chunks: Mapping[str, Sequence[manifests.Chunk]],
) -> Iterator[str]:
    leaves = {each: _leaves(store, chunks[each]) for each in chunks}
    for row in versions:
        try:
            deleted = manifests.load_bitmap(row.deleted)
            root = bytes.fromhex(row.root)
        except (ValueError, StorageError):
            yield f"{row.id} has a root or a deletion vector that cannot be read"
            continue
        if manifests.version_digest(root, row.rows, deleted) != row.digest:
            yield f"{row.id} has another digest than its root, rows and deletions give"
        live = row.rows - len(deleted)
        if row.live != live:
            yield f"{row.id} has {live} live rows, and the catalogue says {row.live}"
        committed = leaves[row.dataset_id]
        if committed is not None and merkle.root(committed[: row.rows]) != root:
            yield f"{row.id} has another root than the commitments of its rows"


def _leaves(store: Store, chunks: Sequence[manifests.Chunk]) -> NDArray[np.uint8] | None:
    if not all(store.objects.verify(chunk.manifest) for chunk in chunks):
        return None
    return manifests.read_commitments(store.objects, chunks)


def _model_versions(session: Session) -> Iterator[str]:
    for row in session.scalars(select(tables.ModelVersion)):
        member = tables.ModelMember
        found = select(member.checkpoint_id).where(member.version_id == row.id)
        ids = session.scalars(found.order_by(member.shard)).all()
        members = [session.get(tables.Checkpoint, each) for each in ids]
        known = [each for each in members if each is not None]
        if len(known) != len(members) or row.aggregation not in set(Aggregation):
            yield f"{row.id} has members or an aggregation that are not known"
            continue
        how = Aggregation(row.aggregation)
        try:
            weights = weights_of(session, known)
        except ValueError:
            yield f"{row.id} has members whose runs have no specification that can be read"
            continue
        if model_digest(how, [each.digest for each in known], weights) != row.digest:
            yield f"{row.id} has another digest than its members give"


def _documents(session: Session) -> Iterator[str]:
    """What is kept in JSON beside its digest."""
    for plan in session.scalars(select(tables.Plan)):
        if ledger.json_digest(plan.body) != plan.digest:
            yield f"{plan.id} has another digest than what it says"
    for program in session.scalars(select(tables.Program)):
        if Source(program.ref, Path(program.root), program.files).digest != program.source:
            yield f"{program.id} has another digest than its files give"
    for row in session.scalars(select(tables.Environment)):
        try:
            found = Environment.model_validate(row.fingerprint).digest
        except ValueError:
            found = ""
        if found != row.digest:
            yield f"environment {row.digest} has another digest than what it says"


def _requests(session: Session) -> Iterator[str]:
    """The identity of a request is over the fingerprints of its fences."""
    marks: dict[tuple[str, str], list[str]] = defaultdict(list)
    lifted: dict[str, set[bool]] = defaultdict(set)
    for fence in session.scalars(select(tables.Suppression)):
        marks[fence.request_id, fence.kind].append(fence.fingerprint)
        lifted[fence.request_id].add(fence.lifted_at is not None)
    for row in session.scalars(select(tables.Request)):
        found = [
            ledger.json_digest({"kind": kind, "marks": sorted(each)})
            for (request, kind), each in marks.items()
            if request == row.id
        ]
        if found != [row.identity]:
            yield f"{row.id} has other fences than those that it raised"
        if lifted[row.id] != {row.state == "cancelled"}:
            yield f"{row.id} is {row.state}, and its fences are not"


def _recordings(store: Store, files: Sequence[tables.RecordingFile]) -> Iterator[str]:
    """The visits that a file tells of: its rows, or those of its batches together."""
    for row in files:
        if not store.objects.verify(row.object):
            continue
        with pq.ParquetFile(store.objects.open(row.object)) as file:
            visits = rows = file.metadata.num_rows
            if row.kind == Kind.BATCHES:
                visits = pc.sum(file.read(columns=["size"]).column("size")).as_py() or 0
        if visits != row.visits or (row.kind == Kind.BATCHES and rows != row.last - row.first):
            yield (
                f"object {row.object} of {row.recording_id} tells of {visits} visits in {rows} "
                f"rows, and the catalogue says {row.visits}"
            )
