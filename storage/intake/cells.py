"""Cells of a file from outside as the declared kinds of their columns."""

from collections.abc import Collection
from math import isinf

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from storage.errors import InvalidInputError
from storage.ids import EXACT_BELOW, id_texts
from storage.intake.columns import Column, ColumnKind, arrow_schema
from storage.intake.infer import BOOLEAN, INTEGER, MISSING, NUMBER
from storage.intake.sources import Source
from storage.rows import Array, cell_text

_TEXTS = (ColumnKind.TEXT, ColumnKind.CATEGORY)
_REALS = (ColumnKind.REAL, ColumnKind.REAL32)
_WHOLE = r"^-?[0-9]+(?:\.0*)?$"
_AT_THE_SOURCE = "write the ids as text, or as whole numbers of 64 bits"
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
        given, ids = batch.column(column.name), column.name in identity
        if pt.is_dictionary(given.type):
            view = pt.is_string_view(given.type.value_type)  # which Arrow cannot take from
            labels = given.dictionary.cast(pa.string()) if view else given.dictionary
            given = labels.take(given.indices)
        try:
            if source.is_csv:
                made = _from_text(column, given)
            else:
                made = _from_typed(column, given, ids=ids)
            if ids:
                _check_ids(given, made)
            _check_nulls(column, made)
        except _UnfitError as unfit:
            raise _refusal(source, column, first_row + unfit.index, unfit) from None
        cells.append(made)
    return pa.record_batch(cells, schema=arrow_schema(columns))


class _UnfitError(Exception):
    def __init__(self, index: int, what: str, remedy: str = "") -> None:
        self.index, self.what, self.remedy = index, what, remedy


def _refusal(source: Source, column: Column, row: int, unfit: _UnfitError) -> InvalidInputError:
    return InvalidInputError(
        f"row {row} of {source.path} has {unfit.what} in column {column.name!r}, "
        f"which is declared {column.kind.value}",
        hint=unfit.remedy
        or f"correct the row, or make a new dataset of the file: --text {column.name!r} keeps "
        "every cell of the column as it is written",
        row=row,
    )


def _refuse_any(unfit: Array, what: str, remedy: str = "") -> None:
    if (index := pc.index(unfit, True).as_py()) >= 0:
        raise _UnfitError(index, what, remedy)


def _from_text(column: Column, cells: Array) -> Array:
    if column.kind in _TEXTS:
        return cells
    trimmed = pc.ascii_trim_whitespace(cells)
    missing = pc.is_in(trimmed, value_set=MISSING)
    fits = pc.match_substring_regex(trimmed, _pattern(column)).fill_null(False)
    _refuse_any(pc.invert(pc.or_(fits, missing)), "another kind of value")
    words = pc.if_else(missing, pa.scalar(None, pa.string()), pc.ascii_ltrim(trimmed, "+"))
    numbers = _cast(words, column.arrow_type)
    if column.kind in _REALS:
        _refuse_inexact(words, numbers)
    return numbers


def _pattern(column: Column) -> str:
    if column.kind is ColumnKind.INTEGER:
        return INTEGER
    return BOOLEAN if column.kind is ColumnKind.BOOL else NUMBER


def _from_typed(column: Column, cells: Array, *, ids: bool) -> Array:
    if column.kind in _TEXTS:
        # A file may claim text and hold other bytes: only the cast from binary looks at them.
        texts = id_texts(cells) if ids else cell_text(cells)
        return _cast(texts.cast(pa.binary()), pa.string())
    numbers = _cast(cells, column.arrow_type)
    if pt.is_decimal(cells.type):
        _refuse_inexact(cells.cast(pa.string()), numbers)
    return numbers


def _refuse_inexact(words: Array, numbers: Array) -> None:
    """Refuse a finite number that became infinite, and a whole one that became another."""
    large = pc.greater_equal(pc.abs(numbers), pa.scalar(2.0**53, numbers.type))
    if not pc.any(large).as_py():
        return
    whole = pc.match_substring_regex(words, _WHOLE)
    suspect = pc.and_(large, pc.or_(whole, pc.is_inf(numbers))).fill_null(False)
    for index in np.flatnonzero(suspect.to_numpy(zero_copy_only=False)).tolist():
        word, number = words[index].as_py(), numbers[index].as_py()
        if isinf(number) and "inf" not in word.lower():
            raise _UnfitError(index, "a number beyond the reach of reals")
        if not isinf(number) and int(word.partition(".")[0]) != int(number):
            raise _UnfitError(index, "a whole number with more digits than reals have")


def _check_ids(given: Array, made: Array) -> None:
    """Refuse ids that the declared column would give another text than the file does."""
    if pt.is_floating(given.type):
        _check_reals(given, as_text=pt.is_string(made.type))
    if given.type != made.type:
        other = pc.not_equal(id_texts(given), id_texts(made))
        _refuse_any(other, "an id that the column would write otherwise")


def _check_reals(ids: Array, *, as_text: bool) -> None:
    large = pc.greater_equal(pc.abs(ids), pa.scalar(EXACT_BELOW[str(ids.type)], ids.type))
    _refuse_any(large, "a real that may have lost digits of an id", _AT_THE_SOURCE)
    numbers = ids.to_numpy(zero_copy_only=False)
    negative_zeros = pa.array(np.signbit(numbers) & (numbers == 0))
    _refuse_any(negative_zeros, "a negative zero", _AT_THE_SOURCE)
    if as_text:  # where "nan" would be somebody's name
        _refuse_any(pc.is_nan(ids), "no number", _AT_THE_SOURCE)


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
