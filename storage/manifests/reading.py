"""Reading chunks: who is at which position, what the rows hold, where an id is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage import ids
from storage.errors import CorruptObjectError
from storage.intake import Column, ColumnKind, arrow_schema
from storage.manifests.chunks import Chunk, read_table
from storage.objects import Objects
from storage.rows import Array, Rows

Vector = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Index:
    """The rows that are not erased, in the order of their positions; three arrays of one length."""

    positions: NDArray[np.int64]
    keys: NDArray[np.uint64]
    placement: NDArray[np.uint64]
    objects: Objects
    chunks: tuple[Chunk, ...]

    def tiebreak(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The full record digests of some rows of this index, read from their chunks now."""
        wanted = self.positions[rows]
        digests: list[bytes] = [b""] * len(wanted)
        for chunk in self.chunks:
            here = np.flatnonzero(
                (wanted >= chunk.first_position) & (wanted < chunk.first_position + chunk.rows)
            )
            if len(here):
                column: Array = _column(self.objects, chunk, "digest")
                taken = column.take(pa.array(wanted[here] - chunk.first_position))
                for row, digest in zip(here.tolist(), taken.to_pylist(), strict=True):
                    digests[row] = digest
        return digests


def read_index(objects: Objects, chunks: Sequence[Chunk]) -> Index:
    """Positions, keys and placements of the rows that are not erased.

    Raises:
        CorruptObjectError: a manifest is missing or damaged; so do all functions here.
    """
    names = ["position", "key", "placement"]
    tables = [read_table(objects, chunk.manifest, names).drop_null() for chunk in chunks]
    return Index(
        positions=_joined([_numpy(table, "position") for table in tables], np.int64),
        keys=_joined([_numpy(table, "key") for table in tables], np.uint64),
        placement=_joined([_numpy(table, "placement") for table in tables], np.uint64),
        objects=objects,
        chunks=tuple(chunks),
    )


def read_commitments(objects: Objects, chunks: Sequence[Chunk]) -> NDArray[np.uint8]:
    """The commitments of all positions, erased ones too: shape (n, 32)."""
    parts = [b"".join(_column(objects, chunk, "commitment").to_pylist()) for chunk in chunks]
    return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, 32)


def read_rows(
    objects: Objects, chunks: Sequence[Chunk], columns: Sequence[Column]
) -> dict[str, Vector]:
    """The columns as arrays with one entry a position of the chunks, erased ones too.

    The dtype follows from the declared column and never from the rows present, so that a run with
    a record and its twin without it see the same types:

    ========  ===========================================  =========================
    kind      array                                        null, or erased
    ========  ===========================================  =========================
    bool      bool; float64 of 0, 1 where nullable         False; NaN where nullable
    integer   int64; float64 where nullable                0; NaN where nullable
    real      float64                                      NaN
    real32    float32                                      NaN
    category  int32 codes                                  −1
    text      object: str or None                          None
    vector    its element type, shape (n, length)          zeros
    ========  ===========================================  =========================
    """
    total = sum(chunk.rows for chunk in chunks)
    arrays = {column.name: _empty(column, total) for column in columns}
    start = 0
    for chunk in chunks:
        table = read_table(objects, chunk.data, [column.name for column in columns])
        for column in columns:
            cells = table.column(column.name).combine_chunks()
            arrays[column.name][start : start + chunk.rows] = _declared(chunk, column, cells)
        start += chunk.rows
    return arrays


def decoded(column: Column, cells: Array) -> Vector:
    """Cells in the Arrow type of a column as an array, as `read_rows` has them.

    Raises:
        ValueError: a cell has a label that the column does not have.
    """
    array = _empty(column, len(cells))
    array[:] = _values(column, cells)
    return array


def read_identified(
    objects: Objects, chunks: Sequence[Chunk], positions: NDArray[np.int64]
) -> Iterator[Rows]:
    """The rows at these positions, as they were written, a piece for each chunk that has some."""
    for chunk in chunks:
        last = chunk.first_position + chunk.rows
        here = positions[(positions >= chunk.first_position) & (positions < last)]
        if len(here):
            taken = pa.array(here - chunk.first_position)
            names = read_table(objects, chunk.manifest, ["record", "subjects"]).take(taken)
            cells = read_table(objects, chunk.data).replace_schema_metadata().take(taken)
            yield Rows(
                cells.combine_chunks().to_batches()[0],
                names.column("record").combine_chunks(),
                names.column("subjects").combine_chunks(),
            )


def no_rows(columns: tuple[Column, ...]) -> Rows:
    """No rows, of these columns."""
    nothing = pa.RecordBatch.from_pylist([], schema=arrow_schema(columns))
    return Rows(nothing, pa.array([], pa.string()), pa.array([], pa.list_(pa.string())))


def read_cells(
    objects: Objects,
    chunks: Sequence[Chunk],
    names: Sequence[str],
    positions: NDArray[np.int64],
) -> Iterator[pa.RecordBatch]:
    """Some columns at these positions, in this order, a piece for each chunk that has some."""
    for chunk in chunks:
        last = chunk.first_position + chunk.rows
        here = positions[(positions >= chunk.first_position) & (positions < last)]
        if len(here):
            cells = read_table(objects, chunk.data, list(names)).replace_schema_metadata()
            taken = cells.select(list(names)).take(pa.array(here - chunk.first_position))
            yield taken.combine_chunks().to_batches()[0]


def read_names(
    objects: Objects, chunks: Sequence[Chunk], positions: NDArray[np.int64]
) -> Iterator[pa.RecordBatch]:
    """Columns ``position``, ``record`` and ``subjects`` at some positions that are not erased."""
    for chunk in chunks:
        last = chunk.first_position + chunk.rows
        here = positions[(positions >= chunk.first_position) & (positions < last)]
        if len(here):
            names = read_table(objects, chunk.manifest, ["position", "record", "subjects"])
            yield from names.take(pa.array(here - chunk.first_position)).to_batches()


def read_ids(objects: Objects, chunks: Sequence[Chunk], positions: NDArray[np.int64]) -> list[str]:
    """The record id at each position; none of these rows may be erased."""
    names = [""] * len(positions)
    for chunk in chunks:
        last = chunk.first_position + chunk.rows
        here = np.flatnonzero((positions >= chunk.first_position) & (positions < last))
        if len(here):
            taken = pa.array(positions[here] - chunk.first_position)
            found = _column(objects, chunk, "record").take(taken).to_pylist()
            for place, name in zip(here.tolist(), found, strict=True):
                names[place] = name
    return names


def ambiguous_types(objects: Objects, chunks: Sequence[Chunk]) -> frozenset[type]:
    """The types of numbers that do not say which record id is meant; see `storage.ids`."""
    columns = (_column(objects, chunk, "record").combine_chunks() for chunk in chunks)
    return frozenset().union(*map(ids.ambiguous_types, columns))


def find(
    objects: Objects,
    chunks: Sequence[Chunk],
    *,
    records: Sequence[str] = (),
    subjects: Sequence[str] = (),
) -> dict[str, NDArray[np.int64]]:
    """The positions of each of these records, or of each of these subjects, in ascending order.

    An id that is not there, or was erased, has none.
    """
    kind, asked = ("subjects", subjects) if subjects else ("record", records)
    found: dict[str, list[int]] = {name: [] for name in asked}
    wanted = pa.array(list(found), pa.string())
    for chunk in chunks:
        table = read_table(objects, chunk.manifest, ["position", kind]).combine_chunks()
        names, positions = _named(table, kind)
        hit = pc.is_in(names, value_set=wanted)
        hits = zip(names.filter(hit).to_pylist(), positions.filter(hit).to_pylist(), strict=True)
        for name, position in hits:
            found[name].append(position)
    return {name: np.unique(np.array(at, dtype=np.int64)) for name, at in found.items()}


def _named(table: pa.Table, kind: str) -> tuple[Array, Array]:
    """Every id of this kind beside the position it is at."""
    positions, names = (table.column(name).chunk(0) for name in ("position", kind))
    if kind == "record":
        return names, positions
    return pc.list_flatten(names), positions.take(pc.list_parent_indices(names))


def _column(objects: Objects, chunk: Chunk, name: str) -> Array:
    return read_table(objects, chunk.manifest, [name]).column(name)


def _numpy(table: pa.Table, name: str) -> Vector:
    values: Vector = table.column(name).to_numpy()
    return values


def _joined(parts: list[Vector], dtype: type[np.generic]) -> Vector:
    return np.concatenate([np.empty(0, dtype=dtype), *parts])


def _empty(column: Column, rows: int) -> Vector:
    if column.kind is ColumnKind.VECTOR:
        return np.empty((rows, column.length or 0), dtype=column.element)
    if column.nullable and column.kind in (ColumnKind.BOOL, ColumnKind.INTEGER):
        return np.empty(rows, dtype=np.float64)
    return np.empty(rows, dtype=_DTYPES[column.kind])


_DTYPES: dict[ColumnKind, type[np.generic]] = {
    ColumnKind.BOOL: np.bool_,
    ColumnKind.INTEGER: np.int64,
    ColumnKind.REAL: np.float64,
    ColumnKind.REAL32: np.float32,
    ColumnKind.CATEGORY: np.int32,
    ColumnKind.TEXT: np.object_,
}


class _UndeclaredLabelError(ValueError):
    pass


def _declared(chunk: Chunk, column: Column, cells: Array) -> Vector:
    try:
        return _values(column, cells)
    except _UndeclaredLabelError as error:
        raise CorruptObjectError(
            f"object {chunk.data} has a label in column {column.name!r} that is not declared",
            hint="restore the catalogue and the objects from one backup",
            digest=chunk.data,
        ) from error


def _values(column: Column, cells: Array) -> Vector:
    if column.kind is ColumnKind.VECTOR:
        return _vectors(column, cells)
    if column.kind is ColumnKind.CATEGORY:
        cells = _codes(column, cells)
    elif column.kind in (ColumnKind.BOOL, ColumnKind.INTEGER):
        nothing = pa.scalar(0).cast(cells.type)
        cells = (
            cells.cast(pa.float64(), safe=False) if column.nullable else cells.fill_null(nothing)
        )
    values: Vector = cells.to_numpy(zero_copy_only=False)
    return values


def _codes(column: Column, cells: Array) -> Array:
    labels = pa.array(column.categories, pa.string())
    codes: Array = pc.index_in(cells, value_set=labels, skip_nulls=True)
    if codes.null_count != cells.null_count:
        raise _UndeclaredLabelError(f"column {column.name!r} has a label that is not declared")
    return codes.fill_null(-1)


def _vectors(column: Column, cells: Array) -> Vector:
    values = np.zeros((len(cells), column.length or 0), dtype=column.element)
    values[cells.is_valid().to_numpy(zero_copy_only=False)] = (
        cells.flatten().to_numpy().reshape(-1, values.shape[1])
    )
    return values
