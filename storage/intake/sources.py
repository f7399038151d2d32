"""Files from outside as a stream of batches: CSV as text, Parquet and Arrow as typed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from storage.errors import InvalidInputError
from storage.intake.extent import check_extent
from storage.intake.quoting import check_quotes
from storage.intake.typed import DAMAGE, typed_batches, typed_schema
from storage.rows import OUR_COLUMNS, Array

_ARROW = (".arrow", ".feather", ".ipc")
_EXTENSIONS = (".csv", ".parquet", *_ARROW)
_BLOCK = 8 << 20
_HEAD = 1 << 16
_OTHER_DELIMITERS = {b";": "semicolons", b"\t": "tabs", b"|": "bars"}


@dataclass(frozen=True, slots=True)
class Source:
    """A readable file: its column names and types as the file has them (all text for CSV)."""

    path: Path
    schema: pa.Schema
    stamp: tuple[int, int]

    @property
    def is_csv(self) -> bool:
        """Whether cells are text that still has to be understood."""
        return _is_csv(self.path)

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The file's batches with the row number of the first row of each (the first is 1).

        Raises:
            InvalidInputError: a line is ragged or not UTF-8, or the file changed meanwhile.
        """
        row = 1
        for batch in _read(self.path, self.schema):
            if batch.num_rows:
                yield row, batch
            row += batch.num_rows
        if _stamp(self.path) != self.stamp:
            raise InvalidInputError(
                f"{self.path} changed while it was read", hint="try again when nothing writes to it"
            )


def open_source(path: Path) -> Source:
    """Look at a file without reading its cells.

    Raises:
        InvalidInputError: it is missing, empty, of an unknown extension, unreadable, its quotes
            are broken, its cells are not divided by commas, it is several files that were joined,
            or a column has the name of another one, or one that is ours.
    """
    if path.suffix.lower() not in _EXTENSIONS:
        raise InvalidInputError(
            f"{path} has an extension that is not read", hint=f"use {', '.join(_EXTENSIONS)}"
        )
    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}", hint="check the path")
    if path.stat().st_size == 0:
        raise InvalidInputError(f"{path} is empty", hint="a file has a header and rows")
    stamp = _stamp(path)
    if _is_csv(path):
        _check_delimiter(path)
        check_quotes(path)
    schema = _schema(path)
    _check_names(path, schema.names)
    return Source(path, schema, stamp)


def _check_names(path: Path, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(
            f"{path} has more than one column named {twice[0]!r}", hint="rename one of them"
        )
    if ours := sorted({*names}.intersection(OUR_COLUMNS)):
        raise InvalidInputError(
            f"{path} has a column named {ours[0]!r}, a name that expunge uses",
            hint="rename the column",
        )


def _check_delimiter(path: Path) -> None:
    with path.open("rb") as file:
        header = next(filter(None, file.read(_HEAD).splitlines()), b"")
    for delimiter, word in _OTHER_DELIMITERS.items():
        if delimiter in header and b"," not in header:
            raise InvalidInputError(
                f"the header of {path} is divided by {word} ({delimiter.decode()!r}), "
                "not by commas",
                hint="save the file with commas between its cells",
            )


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _schema(path: Path) -> pa.Schema:
    if _is_csv(path):
        with _open_csv(path, pa.schema([])) as reader:
            return pa.schema([(name, pa.binary()) for name in reader.schema.names])
    try:
        schema = typed_schema(path)
        check_extent(path)
    except DAMAGE:
        raise _unreadable(path) from None
    return schema


def _unreadable(path: Path) -> InvalidInputError:
    kind = path.suffix.lower().removeprefix(".")
    return InvalidInputError(
        f"{path} cannot be read as {kind}", hint="is it complete, and what its extension says?"
    )


def _read(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    return _read_csv(path, schema) if _is_csv(path) else _read_typed(path)


def _read_typed(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from typed_batches(path)
    except DAMAGE:
        raise _unreadable(path) from None


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _read_csv(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    row = 1
    with _open_csv(path, schema) as reader:
        for batch in reader:
            yield _decoded(path, row, batch)
            row += batch.num_rows


@contextmanager
def _open_csv(path: Path, schema: pa.Schema) -> Iterator[csv.CSVStreamingReader]:
    ragged: list[csv.InvalidRow] = []

    def refuse(row: csv.InvalidRow) -> Literal["error"]:
        ragged.append(row)
        return "error"

    try:
        with csv.open_csv(
            path,
            # One thread: only then does a ragged row know its number.
            read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=csv.ConvertOptions(column_types=schema),
        ) as reader:
            yield reader
    except UnicodeDecodeError:
        raise InvalidInputError(
            f"the header of {path} is not UTF-8", hint="save the file as UTF-8"
        ) from None
    except (pa.ArrowException, OSError):  # their messages quote the line
        raise _ragged(path, ragged[0]) if ragged else _unreadable(path) from None


def _ragged(path: Path, row: csv.InvalidRow) -> InvalidInputError:
    number = (row.number or 1) - 1
    return InvalidInputError(
        f"row {number} of {path} has {row.actual_columns} cells, the header {row.expected_columns}",
        hint="quote cells that hold a comma or a line break",
        row=number,
    )


def _decoded(path: Path, first_row: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The cells as text; an empty cell is null in every column."""
    columns = []
    for name, cells in zip(batch.schema.names, batch.columns, strict=True):
        try:
            text = cells.cast(pa.string())
        except pa.ArrowInvalid:
            raise _not_utf8(path, name, first_row, cells) from None
        columns.append(_empty_as_null(text))
    return pa.record_batch(columns, names=batch.schema.names)


def _empty_as_null(text: Array) -> Array:
    return pc.if_else(pc.equal(text, pa.scalar("")), pa.scalar(None, pa.string()), text)


def _not_utf8(path: Path, name: str, first_row: int, cells: Array) -> InvalidInputError:
    bad = next(i for i, cell in enumerate(cells.to_pylist()) if not _is_utf8(cell))
    return InvalidInputError(
        f"row {first_row + bad} of {path} is not UTF-8 in column {name!r}",
        hint="save the file as UTF-8",
        row=first_row + bad,
    )


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True
