"""What a row and an id hash to: the row encoding ``row/1``, its commitment, keyed digests of ids.

Row encoding ``row/1``. A row is its cells in the declared order of the columns, back to back:

====================  ==============================================================================
column                bytes of a cell
====================  ==============================================================================
bool                  validity, then one byte 0 or 1
int64                 validity, then 8 bytes, two's complement, little endian
float, double         validity, then 4 or 8 bytes, IEEE 754, little endian; every NaN is the quiet
                      NaN ``7fc00000`` or ``7ff8000000000000``; −0.0 and 0.0 differ
string                validity, then the length in bytes, unsigned 64-bit little endian, then UTF-8
fixed_size_list       validity, then the number of elements, unsigned 64-bit little endian, then the
                      elements in their own width, little endian, NaN as above
====================  ==============================================================================

``validity`` is one byte: 01 for a value, 00 for null. What follows the validity of a null is zeros:
as many as a value of that column has, and for text only the 8 of its length. A category is its
label, never its code. The bytes depend on values and declared columns alone, not on chunks, buffers
or files.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from itertools import pairwise
from typing import Any, TypeAlias, cast
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.errors import InvalidInputError

Array: TypeAlias = Any
"""An Arrow array or scalar. The published stubs contradict the library too often to be of use."""

ENCODING = "row/1"
UUID_TYPE = "extension<arrow.uuid>"
_RECORD_COLUMN, _SUBJECTS_COLUMN = OUR_COLUMNS = ("__record", "__subjects")
_RECORD, _SUBJECT = b"expunge-record", b"expunge-subject"
_FIXED = {"bool": "|u1", "int64": "<i8", "float": "<f4", "double": "<f8"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows beside who they are: ids (n,) as text, and a list of subjects each (n,).

    Identity is apart from data because derived rows inherit it without holding its columns.
    """

    batch: pa.RecordBatch
    records: Array
    subjects: Array


def commit_rows(batch: pa.RecordBatch, salts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``SHA-256(salt ‖ encode(row))`` of every row, in encoding ``row/1``.

    Args:
        batch: n rows in the declared order and types of the columns.
        salts: shape (n, 16).

    Returns:
        Shape (n, 32).

    Raises:
        InvalidInputError: a column has a type that ``row/1`` does not know.
    """
    if batch.num_rows == 0:
        return np.empty((0, 32), dtype=np.uint8)
    encoded = _joined(_pieces(batch, salts))
    _, offsets, data = encoded.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64).tolist()
    view = memoryview(data)
    return _digest_rows([sha256(view[start:stop]).digest() for start, stop in pairwise(bounds)])


def record_digests(ids: Sequence[str] | Array, salt: bytes) -> NDArray[np.uint8]:
    """Keyed digests of record ids: BLAKE2b-256, key ``salt`` (at most 64 bytes), shape (n, 32)."""
    return _keyed((text.encode() for text in _texts(ids)), salt, _RECORD)


def subject_digests(
    subjects: Sequence[str] | Array, salt: bytes, *, namespace: str
) -> NDArray[np.uint8]:
    """Keyed digests of ``namespace ‖ 0x00 ‖ subject``, else as `record_digests`; shape (n, 32).

    Raises:
        InvalidInputError: the namespace holds a NUL and could pass for another.
    """
    if "\x00" in namespace:
        raise InvalidInputError("a namespace holds no NUL character", hint="choose another name")
    prefix = namespace.encode() + b"\x00"
    return _keyed((prefix + text.encode() for text in _texts(subjects)), salt, _SUBJECT)


def keys_of(digests: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The 64-bit keys that schedules hash: the first 8 bytes of each digest, big endian."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8").reshape(-1).astype(np.uint64)


def cell_text(column: Array) -> Array:
    """Cells as text, the same whichever file they came from; null stays null.

    Whole numbers have no fraction whatever their type (7 and 7.0 are both ``7``); other reals are
    the shortest text that reads back as the same number, as Python's ``repr`` writes it.

    >>> cell_text(pa.array([7.0, 0.5, 1e-05, None])).to_pylist()
    ['7', '0.5', '1e-05', None]
    """
    if pa.types.is_floating(column.type):
        return pa.array([_real_text(x) for x in _shortest(column)], pa.string())
    if str(column.type) == UUID_TYPE:
        return pa.array([_uuid_text(x) for x in column.storage.to_pylist()], pa.string())
    return column.cast(pa.string())


def _uuid_text(value: bytes | None) -> str | None:
    return None if value is None else str(UUID(bytes=value))


def _shortest(column: Array) -> list[float | None]:
    values: list[float | None] = column.to_pylist()
    if not pa.types.is_float32(column.type):
        return values
    return [None if x is None else float(str(np.float32(x))) for x in values]


def _real_text(value: float | None) -> str | None:
    if value is None:
        return None
    return str(int(value)) if value.is_integer() and abs(value) <= 2**53 else repr(value)


def _texts(ids: Sequence[str] | Array) -> Sequence[str]:
    return cast("list[str]", ids.to_pylist()) if isinstance(ids, pa.Array) else ids


def _keyed(messages: Iterable[bytes], salt: bytes, person: bytes) -> NDArray[np.uint8]:
    keyed = blake2b(digest_size=32, key=salt, person=person)
    digests = []
    for message in messages:
        state = keyed.copy()
        state.update(message)
        digests.append(state.digest())
    return _digest_rows(digests)


def _digest_rows(digests: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)


def _joined(pieces: list[Array]) -> Array:
    return pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary()))


def _pieces(batch: pa.RecordBatch, salts: NDArray[np.uint8]) -> list[Array]:
    """Blocks of fixed width, the salt first, with the bytes of each text column between them."""
    pieces: list[Array] = []
    fixed: list[NDArray[np.uint8]] = [salts]
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        fixed.append(_valid(column))
        if pa.types.is_string(column.type):
            text: Array = column.cast(pa.binary()).fill_null(b"")
            fixed.append(_bytes_of(_numbers(pc.binary_length(text), "<u8")))
            pieces += [_as_binary(fixed), text.cast(pa.large_binary())]
            fixed = []
        else:
            fixed += _cells(name, column)
    return [*pieces, _as_binary(fixed)] if fixed else pieces


def _cells(name: str, column: Array) -> list[NDArray[np.uint8]]:
    if pa.types.is_fixed_size_list(column.type):
        return _vectors(name, column)
    if str(column.type) not in _FIXED:
        raise _unknown(name, column)
    zero = pa.scalar(0).cast(column.type)
    return [_bytes_of(_numbers(column.fill_null(zero), _FIXED[str(column.type)]))]


def _vectors(name: str, column: Array) -> list[NDArray[np.uint8]]:
    element = np.dtype(column.type.value_type.to_pandas_dtype()).newbyteorder("<")
    if element.kind not in "iuf":
        raise _unknown(name, column)
    length, valid = column.type.list_size, column.is_valid().to_numpy(zero_copy_only=False)
    values = np.zeros((len(column), length), dtype=element)
    values[valid] = _numbers(column.flatten(), element.str).reshape(-1, length)
    return [_bytes_of(np.where(valid, length, 0).astype("<u8")), _bytes_of(values)]


def _unknown(name: str, column: Array) -> InvalidInputError:
    return InvalidInputError(
        f"column {name!r} has type {column.type}, which {ENCODING} does not know",
        hint="take rows in through storage.intake, which gives columns their declared types",
    )


def _numbers(column: Array, dtype: str) -> NDArray[np.generic]:
    values: NDArray[np.generic] = column.to_numpy(zero_copy_only=False).astype(dtype)
    if values.dtype.kind == "f":
        values[np.isnan(values)] = np.nan
    return values


def _valid(column: Array) -> NDArray[np.uint8]:
    return _bytes_of(column.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8))


def _bytes_of(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def _as_binary(blocks: list[NDArray[np.uint8]]) -> Array:
    block = np.hstack(blocks)
    offsets = np.arange(len(block) + 1, dtype=np.int64) * block.shape[1]
    buffers = [None, pa.py_buffer(offsets.data), pa.py_buffer(block.data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(block), buffers)


def rows_table(pieces: Iterable[Rows]) -> pa.Table:
    """Rows as one table: the data columns, then ``__record`` and ``__subjects``."""
    tables = [
        pa.Table.from_batches([piece.batch])
        .append_column(_RECORD_COLUMN, piece.records)
        .append_column(_SUBJECTS_COLUMN, piece.subjects)
        for piece in pieces
    ]
    return pa.concat_tables(tables).combine_chunks()


def table_rows(table: pa.Table) -> Iterator[Rows]:
    """The inverse of `rows_table`, in pieces as the table is chunked."""
    for batch in table.to_batches():
        yield Rows(
            batch.drop_columns([_RECORD_COLUMN, _SUBJECTS_COLUMN]),
            batch.column(_RECORD_COLUMN),
            batch.column(_SUBJECTS_COLUMN),
        )
