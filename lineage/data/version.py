"""An immutable version of a dataset, opened for reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.schedule import Records
from lineage.store import Store
from storage import manifests
from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.intake import Column, ColumnKind

NUMBERS = (ColumnKind.BOOL, ColumnKind.INTEGER, ColumnKind.REAL, ColumnKind.REAL32)


@dataclass(frozen=True, slots=True)
class Present:
    """The present rows of a version, in position order."""

    records: Records

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where each row is in the dataset (n,)."""
        return self.records.positions

    def rows_of(self, positions: BitMap) -> NDArray[np.intp]:
        """Indexes into ``positions`` of those given that are present."""
        return _places(positions, self.positions)


@dataclass(frozen=True)
class Version:
    """The first ``row.rows`` positions of a dataset less the deletion vector ``deleted``.

    Rows are read when first asked for, and kept for the life of the object.
    """

    store: Store
    row: tables.DatasetVersion
    dataset: tables.Dataset
    chunks: tuple[manifests.Chunk, ...]

    @property
    def id(self) -> str:
        """The typed id, ``dsv-…``."""
        return self.row.id

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The declared columns."""
        return tuple(Column.model_validate(column) for column in self.dataset.columns)

    @cached_property
    def salt(self) -> bytes:
        """The secret schedule salt of the dataset."""
        return self.store.keys.get(f"salt-{self.dataset.id}")

    @cached_property
    def deleted(self) -> BitMap:
        """The deletion vector."""
        return manifests.load_bitmap(self.row.deleted)

    @cached_property
    def index(self) -> manifests.Index:
        """Positions and keys of every row of the chunks that is not erased, deleted ones too."""
        return manifests.read_index(self.store.objects, self.chunks)

    @cached_property
    def present(self) -> Present:
        """The rows that a run over this version sees."""
        index = self.index
        keep = np.flatnonzero(
            (index.positions < self.row.rows) & ~contains(self.deleted, index.positions)
        )
        positions = index.positions[keep]
        return Present(
            Records(
                positions,
                index.keys[keep],
                index.placement[keep],
                lambda rows: index.tiebreak(keep[rows]),
                column=lambda name: self.column(name)[positions],
            ),
        )

    def numbers(self, name: str) -> bool:
        """Whether there is such a column, with a number a row."""
        return any(each.name == name and each.kind in NUMBERS for each in self.columns)

    def column(self, name: str) -> NDArray[np.generic]:
        """One column over *all* positions: entry ``p`` belongs to position ``p``.

        Raises:
            NotFoundError: the dataset has no such column.
        """
        if name not in self._columns:
            cells = self.read(name, self.chunks)
            cells.flags.writeable = False
            self._columns[name] = cells
        return self._columns[name]

    def read(self, name: str, chunks: Sequence[manifests.Chunk]) -> NDArray[np.generic]:
        """One column over the positions of some chunks; see `column`."""
        wanted = tuple(column for column in self.columns if column.name == name)
        if not wanted:
            known = ", ".join(column.name for column in self.columns)
            raise NotFoundError(
                f"dataset {self.dataset.name!r} has no column {name!r}",
                hint=f"its columns are {known}",
            )
        return manifests.read_rows(self.store.objects, chunks, wanted)[name]

    def chunks_with(self, positions: BitMap) -> tuple[manifests.Chunk, ...]:
        """The chunks that hold any of these positions."""
        return tuple(
            chunk
            for chunk in self.chunks
            if positions.range_cardinality(chunk.first_position, chunk.first_position + chunk.rows)
        )

    @cached_property
    def _columns(self) -> dict[str, NDArray[np.generic]]:
        return {}


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The columns of a few rows: ``positions`` (n,), ascending. Other chunks are not read."""

    version: Version
    positions: NDArray[np.int64]

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        """A column, one entry a row.

        Raises:
            NotFoundError: the dataset has no such column.
        """
        parts = [self.version.read(name, ())]
        for chunk in self.version.chunks_with(BitMap(self.positions)):
            first = chunk.first_position
            low, high = np.searchsorted(self.positions, [first, first + chunk.rows])
            parts.append(self.version.read(name, (chunk,))[self.positions[low:high] - first])
        return np.concatenate(parts)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.positions)


def contains(positions: BitMap, array: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which entries of ``array``, which ascends, are in the bitmap."""
    inside = np.zeros(len(array), np.bool_)
    inside[_places(positions, array)] = True
    return inside


def _places(positions: BitMap, array: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where in ``array``, which ascends, those of the positions are that it holds."""
    wanted = np.asarray(positions.to_array(), np.int64)
    places = np.searchsorted(array, wanted)
    within = places < len(array)
    near = places[within]
    found: NDArray[np.intp] = near[array[near] == wanted[within]]
    return found


def open_version(store: Store, version_id: str) -> Version:
    """Open a dataset version by id; one that was opened lately is shared, with what it has read.

    Raises:
        NotFoundError: there is none.
    """
    with store.catalogue.read() as session:
        row = session.get(tables.DatasetVersion, version_id)
        if row is None:
            raise NotFoundError(
                f"there is no dataset version {version_id}", hint="see `expunge dataset list`"
            )
        chunks = chunks_of(session, row.dataset_id, row.rows)
    return _opened(store, version_id, chunks)


@lru_cache(maxsize=4)
def _opened(store: Store, version_id: str, chunks: tuple[manifests.Chunk, ...]) -> Version:
    # The chunks are part of the key: erasing rows replaces them, and closes what was open.
    with store.catalogue.read() as session:
        row = session.get_one(tables.DatasetVersion, version_id)
        return Version(store, row, session.get_one(tables.Dataset, row.dataset_id), chunks)


def chunks_of(session: Session, dataset_id: str, rows: int) -> tuple[manifests.Chunk, ...]:
    """The chunks that hold the first ``rows`` positions of a dataset, in order."""
    found = session.scalars(
        select(tables.Chunk)
        .where(tables.Chunk.dataset_id == dataset_id, tables.Chunk.first_position < rows)
        .order_by(tables.Chunk.first_position)
    )
    return tuple(
        manifests.Chunk(chunk.first_position, chunk.rows, chunk.manifest, chunk.data)
        for chunk in found
    )
