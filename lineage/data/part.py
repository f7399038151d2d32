"""Drafting a part of a dataset: its chunks, before the catalogue knows them."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from pyroaring import BitMap
from sqlalchemy import select

from lineage.data.version import Version, contains, open_version
from lineage.store import Store
from storage import manifests, merkle
from storage.catalogue import tables
from storage.intake import Column
from storage.rows import Rows


@dataclass(frozen=True, slots=True)
class Draft:
    """A part whose chunks are written, and which the catalogue does not know yet.

    ``root`` is the Merkle root with it, ``before`` the version it adds to, ``salt`` the secret of
    its dataset, which is kept when the first draft is published.
    """

    dataset: tables.Dataset
    before: Version | None
    chunks: tuple[manifests.Chunk, ...]
    root: str
    salt: bytes

    @property
    def first_position(self) -> int:
        """The position of its first row."""
        return 0 if self.before is None else self.before.row.rows

    @property
    def rows(self) -> int:
        """How many positions it adds."""
        return sum(chunk.rows for chunk in self.chunks)


@contextmanager
def drafted(
    store: Store, dataset: tables.Dataset, rows: Iterable[Rows], salt: bytes | None
) -> Iterator[Draft]:
    """Write the chunks of a new part, which the block publishes.

    Where it does not, refused or interrupted, chunks and a new salt are destroyed again.
    """
    name = salt_name(dataset.id)
    with store.catalogue.read() as session:
        known = session.get(tables.KeyDigest, name) is not None
    secret = store.keys.get(name) if known else salt or secrets.token_bytes(32)
    before = None if dataset.head_id is None else open_version(store, dataset.head_id)
    first = 0 if before is None else before.row.rows
    written: list[manifests.Chunk] = []
    with store.objects.claiming(), _discarded(store, dataset.id, written):
        for chunk in manifests.write_chunks(
            store.objects,
            rows,
            tuple(Column.model_validate(column) for column in dataset.columns),
            first_position=first,
            salt=secret,
            namespace=dataset.namespace,
        ):
            written.append(chunk)
        chunks = (() if before is None else before.chunks) + tuple(written)
        root = merkle.root(manifests.read_commitments(store.objects, chunks)).hex()
        yield Draft(dataset, before, tuple(written), root, secret)


@contextmanager
def _discarded(store: Store, dataset_id: str, written: list[manifests.Chunk]) -> Iterator[None]:
    """Destroy what was written where the block does not come to its end."""
    try:
        yield
    except BaseException:
        _discard(store, dataset_id, written)
        raise


def _discard(store: Store, dataset_id: str, written: list[manifests.Chunk]) -> None:
    """Destroy what the catalogue does not know; an interruption may come after the commit.

    No lock is needed: nobody else has ever heard of these chunks and of this salt.
    """
    name = salt_name(dataset_id)
    with store.catalogue.read() as session:
        unknown = session.get(tables.KeyDigest, name) is None
        known = set(
            session.scalars(
                select(tables.Chunk.manifest).where(tables.Chunk.dataset_id == dataset_id)
            )
        )
    for chunk in written:
        if chunk.manifest not in known:
            store.objects.delete(chunk.manifest)
            store.objects.delete(chunk.data)
    if unknown and name in store.keys:
        store.keys.delete(name)


def salt_name(dataset_id: str) -> str:
    """Return the name of a dataset's schedule salt among the keys."""
    return f"salt-{dataset_id}"


def same_records(store: Store, draft: Draft) -> BitMap:
    """Positions present before a draft whose record is in it again, told by the full digest."""
    if draft.before is None:
        return BitMap()
    index = manifests.read_index(store.objects, draft.chunks)
    old = draft.before.present
    rows = np.flatnonzero(np.isin(old.records.keys, index.keys))
    twins = np.flatnonzero(np.isin(index.keys, old.records.keys[rows]))
    digests = set(index.tiebreak(twins))
    names = old.records.tiebreak(rows)
    return BitMap(
        int(old.positions[row]) for row, name in zip(rows, names, strict=True) if name in digests
    )


def part_like(store: Store, draft: Draft) -> tables.Part | None:
    """Return the part of the dataset that has the very rows of a draft, in their order, if any."""
    dataset_id = draft.dataset.id
    with store.catalogue.read() as session:
        parts = session.scalars(
            select(tables.Part)
            .where(tables.Part.dataset_id == dataset_id, tables.Part.rows == draft.rows)
            .order_by(tables.Part.first_position)
        ).all()
    known = () if draft.before is None else draft.before.chunks
    for part in parts:
        last = part.first_position + part.rows
        own = [each for each in known if part.first_position <= each.first_position < last]
        if len(own) == len(draft.chunks) and all(
            manifests.same_rows(store.objects, *pair)
            for pair in zip(own, draft.chunks, strict=True)
        ):
            return part
    return None


def superseded(version: Version, positions: BitMap) -> BitMap:
    """Those of some positions whose record has a later row, which took their place."""
    index = version.index
    rows = np.flatnonzero(contains(positions, index.positions))
    alike = np.flatnonzero(np.isin(index.keys, index.keys[rows]))
    last = dict(zip(index.tiebreak(alike), index.positions[alike].tolist(), strict=True))
    names = index.tiebreak(rows)
    return BitMap(
        position
        for position, name in zip(index.positions[rows].tolist(), names, strict=True)
        if last[name] != position
    )
