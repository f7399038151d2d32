"""Writing chunks: each is a manifest (who the rows are) and a data file (what they hold).

Manifest columns, one row a position:

==========  ======================  ===============================================================
position    int64                   global in the dataset, never reused
record      string                  the record's id
subjects    list of string          whom it is about; the first places it
digest      fixed_size_binary(32)   keyed digest of the record id
key         uint64                  first 8 bytes of ``digest``: what schedules hash
placement   uint64                  the same of the first subject; ``key`` where there is none
salt        fixed_size_binary(16)   of the row's commitment, random
commitment  fixed_size_binary(32)   ``storage.rows.commit_rows``
==========  ======================  ===============================================================

An erased row keeps its position and commitment, and has null everywhere else.

A data file also holds a digest of its manifest's salts. So two chunks never share a file, and the
name of a file that was redacted away confirms no guess at what it held.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyroaring import BitMap

from storage.ids import id_texts, record_ids
from storage.intake import Column, arrow_schema
from storage.objects import Objects
from storage.rows import (
    Array,
    Rows,
    commit_rows,
    keys_of,
    record_digests,
    subject_digests,
)

_FIELDS: list[tuple[str, pa.DataType]] = [
    ("position", pa.int64()),
    ("record", pa.string()),
    ("subjects", pa.list_(pa.string())),
    ("digest", pa.binary(32)),
    ("key", pa.uint64()),
    ("placement", pa.uint64()),
    ("salt", pa.binary(16)),
    ("commitment", pa.binary(32)),
]
_SCHEMA = pa.schema(_FIELDS)
_KEPT = ("position", "commitment")
_SALTS = b"expunge.salts"


@dataclass(frozen=True, slots=True)
class Chunk:
    """``rows`` consecutive positions from ``first_position``; the digests of their two objects."""

    first_position: int
    rows: int
    manifest: str
    data: str


def write_chunks(
    objects: Objects,
    rows: Iterable[Rows],
    columns: tuple[Column, ...],
    *,
    first_position: int,
    salt: bytes,
    namespace: str,
) -> Iterator[Chunk]:
    """Write each piece of rows as one chunk; consume the iterator to write them all.

    Args:
        rows: of the declared columns and types, beside their ids; see `identified`.
        first_position: of the first row; the rows follow each other.
        salt: the dataset's secret, keying record and subject digests.
        namespace: of the subjects.
    """
    position = first_position
    for piece in rows:
        manifest = _manifest(piece, position, salt, namespace)
        data = pa.Table.from_batches([piece.batch], schema=arrow_schema(columns))
        yield _write(objects, position, manifest, data)
        position += piece.batch.num_rows


def identified(
    batches: Iterable[pa.RecordBatch],
    *,
    first_position: int,
    id_columns: tuple[str, ...],
    subject_columns: tuple[str, ...],
) -> Iterator[Rows]:
    """Rows beside the ids that some of their columns give them.

    Without id columns a record's id is its position + 1: the row number in the dataset's first
    file, counted on through the files that grow it.
    """
    position = first_position
    for batch in batches:
        subjects = [id_texts(batch.column(name)) for name in subject_columns]
        yield Rows(batch, _records(batch, position, id_columns), _lists(subjects, batch.num_rows))
        position += batch.num_rows


def redact(objects: Objects, chunk: Chunk, positions: BitMap) -> Chunk:
    """Write the chunk again with these positions erased; the old files stay until deleted.

    Positions outside the chunk do not matter; with none inside, the chunk itself is returned.
    """
    last = chunk.first_position + chunk.rows
    erased = positions & BitMap(range(chunk.first_position, last))
    if not erased:
        return chunk
    kept = np.ones(chunk.rows, dtype=np.bool_)
    kept[np.asarray(erased.to_array(), dtype=np.int64) - chunk.first_position] = False
    manifest = read_table(objects, chunk.manifest)
    redacted = _without(manifest, kept)
    for name in _KEPT:
        redacted = redacted.set_column(
            _SCHEMA.get_field_index(name), _SCHEMA.field(name), manifest.column(name)
        )
    data = _without(read_table(objects, chunk.data), kept)
    return _write(objects, chunk.first_position, redacted, data)


def read_table(objects: Objects, digest: str, columns: list[str] | None = None) -> pa.Table:
    """A stored Parquet object, verified; all columns, or those named."""
    with pq.ParquetFile(objects.open(digest)) as file:
        return file.read(columns=columns)


def same_rows(objects: Objects, one: Chunk, other: Chunk) -> bool:
    """Return whether two chunks hold equal rows in the same order; NaN equals NaN here."""
    if one.rows != other.rows:
        return False
    first, second = (_bytes(read_table(objects, each.data)) for each in (one, other))
    return bool(first.equals(second))


def _bytes(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    plain = table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return sink.getvalue()


def _records(batch: pa.RecordBatch, position: int, id_columns: tuple[str, ...]) -> Array:
    if id_columns:
        return record_ids(batch, id_columns)
    return pa.array(np.arange(position + 1, position + 1 + batch.num_rows)).cast(pa.string())


def _manifest(piece: Rows, position: int, salt: bytes, namespace: str) -> pa.Table:
    count = piece.batch.num_rows
    digests = record_digests(piece.records, salt)
    keys = keys_of(digests)
    salts = _fresh_salts(count)
    columns = [
        pa.array(np.arange(position, position + count)),
        piece.records,
        piece.subjects,
        _binaries(digests),
        pa.array(keys),
        pa.array(_placement(piece.subjects, keys, salt, namespace)),
        _binaries(salts),
        _binaries(commit_rows(piece.batch, salts)),
    ]
    return pa.table(columns, schema=_SCHEMA)


def _lists(subjects: list[Array], rows: int) -> Array:
    """Column by column → one list of subjects a row."""
    width = len(subjects)
    offsets: Array = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    if width == 0:
        return pa.ListArray.from_arrays(offsets, pa.array([], pa.string()))
    by_row = np.arange(rows * width).reshape(width, rows).T.reshape(-1)
    return pa.ListArray.from_arrays(offsets, pa.concat_arrays(subjects).take(pa.array(by_row)))


def _placement(
    subjects: Array, keys: NDArray[np.uint64], salt: bytes, namespace: str
) -> NDArray[np.uint64]:
    """The key of each row's first subject, or of the record where it has none."""
    named = pc.greater(pc.list_value_length(subjects), 0)
    placement = keys.copy()
    rows = np.flatnonzero(named.to_numpy(zero_copy_only=False))
    if len(rows):
        distinct = pc.list_element(subjects.filter(named), 0).dictionary_encode()
        hashed = keys_of(subject_digests(distinct.dictionary, salt, namespace=namespace))
        placement[rows] = hashed[distinct.indices.to_numpy()]
    return placement


def _fresh_salts(rows: int) -> NDArray[np.uint8]:
    return np.frombuffer(os.urandom(16 * rows), dtype=np.uint8).reshape(rows, 16)


def _binaries(values: NDArray[np.uint8]) -> Array:
    rows, width = values.shape
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), rows, [None, pa.py_buffer(np.ascontiguousarray(values).data)]
    )


def _without(table: pa.Table, kept: NDArray[np.bool_]) -> pa.Table:
    """The rows that are kept at their places, nulls at the others."""
    places: Array = pa.array(np.arange(len(kept)), mask=~kept)
    return table.take(places)


def _write(objects: Objects, position: int, manifest: pa.Table, data: pa.Table) -> Chunk:
    salts: Array = manifest.column("salt").drop_null()
    together = sha256(b"".join(salts.to_pylist())).hexdigest()
    bound = data.replace_schema_metadata({_SALTS: together})
    return Chunk(
        first_position=position,
        rows=manifest.num_rows,
        # Digests and salts are random bytes: a dictionary of them would only add to the file.
        manifest=_put_table(objects, manifest, use_dictionary=["subjects.list.element"]),
        data=_put_table(objects, bound, use_dictionary=True),
    )


def _put_table(objects: Objects, table: pa.Table, **options: Any) -> str:
    path = objects.temporary()
    try:
        pq.write_table(table, path, compression="zstd", write_statistics=False, **options)
        return objects.put_file(path)
    finally:
        path.unlink(missing_ok=True)
