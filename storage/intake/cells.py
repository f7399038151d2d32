"""Cells of a file from outside as the declared kinds of their columns."""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from storage.errors import InvalidInputError
from storage.intake.columns import Column, ColumnKind, arrow_schema
from storage.intake.infer import BOOLEAN, INTEGER, MISSING, NUMBER, PLAIN_INTEGER
from storage.intake.sources import Source
from storage.rows import Array, cell_text

_TEXTS = (ColumnKind.TEXT, ColumnKind.CATEGORY)
_WITHOUT_ROOM_FOR_NULL = (ColumnKind.BOOL, ColumnKind.INTEGER)


def as_declared(
    source: Source,
    first_row: int,
    batch: pa.RecordBatch,
    columns: tuple[Column, ...],
    *,
    identity: Collection[str],
) -> pa.RecordBatch:
    """A batch of the file with the declared columns, in their order and Arrow types.

    Raises:
        InvalidInputError: a cell does not fit the kind of its column; the row is named.
    """
    cells = []
    for column in columns:
        given = batch.column(column.name)
        try:
            if source.is_csv:
                cells.append(_from_text(column, given, plain=column.name in identity))
            else:
                cells.append(_from_typed(column, given))
            _check_nulls(column, cells[-1])
        except _UnfitError as unfit:
            raise _refusal(source, column, first_row + unfit.index, unfit.what) from None
    return pa.record_batch(cells, schema=arrow_schema(columns))


class _UnfitError(Exception):
    def __init__(self, index: int, what: str) -> None:
        self.index, self.what = index, what


def _refusal(source: Source, column: Column, row: int, what: str) -> InvalidInputError:
    return InvalidInputError(
        f"row {row} of {source.path} has {what} in column {column.name!r}, "
        f"which is declared {column.kind.value}",
        hint="correct the row, or make a new dataset of the file",
        row=row,
    )


def _refuse_any(unfit: Array, what: str) -> None:
    if (index := pc.index(unfit, True).as_py()) >= 0:
        raise _UnfitError(index, what)


def _from_text(column: Column, cells: Array, *, plain: bool) -> Array:
    if column.kind in _TEXTS:
        return cells
    trimmed = pc.ascii_trim_whitespace(cells)
    missing = pc.is_in(trimmed, value_set=MISSING)
    fits = pc.match_substring_regex(trimmed, _pattern(column, plain=plain)).fill_null(False)
    _refuse_any(pc.invert(pc.or_(fits, missing)), "another kind of value")
    words = pc.if_else(missing, pa.scalar(None, pa.string()), pc.ascii_ltrim(trimmed, "+"))
    return _cast(words, column.arrow_type)


def _pattern(column: Column, *, plain: bool) -> str:
    if column.kind is ColumnKind.INTEGER:
        return PLAIN_INTEGER if plain else INTEGER
    return BOOLEAN if column.kind is ColumnKind.BOOL else NUMBER


def _from_typed(column: Column, cells: Array) -> Array:
    if pt.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if column.kind not in _TEXTS:
        return _cast(cells, column.arrow_type)
    # A file may claim text and hold other bytes: only the cast from binary looks at them.
    return _cast(cell_text(cells).cast(pa.binary()), pa.string())


def _cast(cells: Array, type_: pa.DataType) -> Array:
    try:
        return cells.cast(type_)
    except pa.ArrowInvalid:
        raise _UnfitError(_first_unfit(cells, type_), "a value out of range") from None


def _first_unfit(cells: Array, type_: pa.DataType) -> int:
    low, high = 0, len(cells)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            cells.slice(low, middle - low).cast(type_)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _check_nulls(column: Column, cells: Array) -> None:
    """Refuse nulls where what a program sees of the column has no room for them."""
    if column.kind is ColumnKind.VECTOR:
        _refuse_any(cells.is_null(), "no value")
        gaps = cells.flatten().is_null().to_numpy(zero_copy_only=False)
        _refuse_any(pa.array(gaps.reshape(-1, column.length).any(axis=1)), "a gap")
    elif column.kind in _WITHOUT_ROOM_FOR_NULL and not column.nullable:
        _refuse_any(cells.is_null(), "no value")
