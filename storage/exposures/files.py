"""The files of a recording: what is in each kind, and how it is encoded.

=========  ==================================  ===================================================
kind       columns                             rows
=========  ==================================  ===================================================
log        batch, step, applied, record        a visit each, in the order in which they happened
batches    step, size, applied                 a batch each; its number is its row
visits     record, gap[, place]                a visit each, by record and then by batch
firsts     record, step                        a record each, with the first step that visits it
=========  ==================================  ===================================================

``gap`` is the number of the batch for a record's first visit, and the distance to the visit before
for every other: small numbers, most of whose high bytes are equal, so that they compress. ``place``
is the visit's place in its batch; it is there where the order was kept.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LARGEST_BATCH = 2**16
"""A batch of more records is written as several, of one step."""


class Kind(StrEnum):
    """What a file of a recording holds."""

    LOG = "log"
    BATCHES = "batches"
    VISITS = "visits"
    FIRSTS = "firsts"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a recording: ``object`` is its digest, ``visits`` how many it tells of.

    ``first:last`` are the batches in a log or in the table of batches, and the positions that a
    file of visits or of first visits may hold. Files of a kind are ordered by ``first``.
    """

    kind: Kind
    object: str
    first: int
    last: int
    visits: int


_DELTA, _SPLIT = "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"
_U16, _U32 = pa.uint16(), pa.uint32()
_ENCODINGS: dict[Kind, dict[str, str]] = {
    Kind.LOG: {"batch": _DELTA, "step": _DELTA, "record": _DELTA},
    Kind.BATCHES: {"step": _DELTA, "size": _DELTA},
    Kind.VISITS: {"record": _DELTA, "gap": _SPLIT, "place": _SPLIT},
    Kind.FIRSTS: {"record": _DELTA, "step": _SPLIT},
}
_SCHEMAS: dict[Kind, pa.Schema] = {
    Kind.LOG: pa.schema(
        [("batch", _U32), ("step", _U32), ("applied", pa.bool_()), ("record", _U32)]
    ),
    Kind.BATCHES: pa.schema([("step", _U32), ("size", _U32), ("applied", pa.bool_())]),
    Kind.VISITS: pa.schema([("record", _U32), ("gap", _U32), ("place", _U16)]),
    Kind.FIRSTS: pa.schema([("record", _U32), ("step", _U32)]),
}


def _compression(kind: Kind, column: str) -> str:
    """Records in the order of a log are too irregular to be compressed further."""
    return "none" if (kind, column) == (Kind.LOG, "record") else "zstd"


class Writer:
    """Writes one file of a kind at a path, a row group a call; it may have its first columns only.

    Without ``columns`` it has all.
    """

    def __init__(self, kind: Kind, path: Path, columns: int | None = None) -> None:
        self._schema = pa.schema(list(_SCHEMAS[kind])[:columns])
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression={name: _compression(kind, name) for name in self._schema.names},
            compression_level={
                name: 3 for name in self._schema.names if _compression(kind, name) == "zstd"
            },
            use_dictionary=False,
            column_encoding={
                name: encoding
                for name, encoding in _ENCODINGS[kind].items()
                if name in self._schema.names
            },
            write_statistics=["record"],
        )

    def write(self, *columns: Any) -> None:
        """Write columns of one length, in the order of the kind's table, as one row group."""
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        rows = len(arrays[0])
        if rows:
            self._writer.write_table(pa.table(arrays, self._schema), row_group_size=rows)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
