"""Which kind each column of a file from outside is."""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from storage.errors import InvalidInputError
from storage.intake.columns import ELEMENTS, Column, ColumnKind
from storage.intake.sources import Source
from storage.rows import UUID_TYPE, Array

NUMBER = r"^[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|(?i:inf|infinity))$"
INTEGER = r"^[-+]?[0-9]{1,19}$"
BOOLEAN = r"^(?i:true|false)$"
_MOST = pa.scalar(2**63 - 1, pa.uint64())
PLAIN_INTEGER = r"^(?:0|-?[1-9][0-9]{0,18})$"
MISSING = pa.array(["NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", None])


def infer(
    source: Source, *, identity: Collection[str], text_columns: Collection[str]
) -> tuple[Column, ...]:
    """The columns of a file by their types, for CSV by reading every cell; text is TEXT.

    In CSV a column of numbers or of true and false may hold missing cells written as `MISSING`.
    ``identity`` names the columns of ids and subjects: they may mix numbers and text, and are text
    unless all are whole numbers of 64 bits, written plainly: two texts are never one number.

    Raises:
        InvalidInputError: a CSV column mixes numbers and text, or misses ids; or a type has no
            kind, or none for ids.
    """
    if source.is_csv:
        return _infer_csv(source, identity, text_columns)
    columns = [_declared(source, field, identity, text_columns) for field in source.schema]
    seen_null = [False] * len(columns)
    for _, batch in source.batches():
        for at, (column, cells) in enumerate(zip(columns, batch.columns, strict=True)):
            seen_null[at] |= cells.null_count > 0
            if column.name in identity and _is_beyond_64_bits(cells):
                columns[at] = column.model_copy(update={"kind": ColumnKind.TEXT})
    return tuple(
        column.model_copy(update={"nullable": null and column.kind is not ColumnKind.VECTOR})
        for column, null in zip(columns, seen_null, strict=True)
    )


def kind_of(type_: pa.DataType) -> ColumnKind | None:
    """The kind of column an Arrow type becomes; dates, times and labels become text."""
    if pt.is_dictionary(type_):
        return kind_of(type_.value_type)
    if str(type_) == UUID_TYPE:
        return ColumnKind.TEXT
    if pt.is_fixed_size_list(type_):
        holds_numbers = type_.list_size > 0 and type_.value_type in ELEMENTS.values()
        return ColumnKind.VECTOR if holds_numbers else None
    return next((kind for kind, tests in _TESTS.items() if any(t(type_) for t in tests)), None)


def keeps_ids_as_text(type_: pa.DataType) -> bool:
    """Return True if ids of this Arrow type may have more digits than a number of a column."""
    type_ = type_.value_type if pt.is_dictionary(type_) else type_
    return bool(pt.is_decimal(type_) or pt.is_uint64(type_))


_TESTS = {
    ColumnKind.BOOL: (pt.is_boolean,),
    ColumnKind.INTEGER: (pt.is_integer,),
    ColumnKind.REAL32: (pt.is_float16, pt.is_float32),
    ColumnKind.REAL: (pt.is_float64, pt.is_decimal, pt.is_null),
    ColumnKind.TEXT: (
        pt.is_string,
        pt.is_large_string,
        pt.is_string_view,
        pt.is_date,
        pt.is_timestamp,
        pt.is_time,
    ),
}


def _declared(
    source: Source, field: Array, identity: Collection[str], text_columns: Collection[str]
) -> Column:
    kind = kind_of(field.type)
    if kind is None or (kind is ColumnKind.VECTOR and field.name in text_columns):
        raise InvalidInputError(
            f"column {field.name!r} of {source.path} has type {field.type}, which is not taken in",
            hint="keep numbers, booleans, text, dates, or fixed-size lists of numbers",
        )
    if kind is ColumnKind.VECTOR:
        element = next(n for n, type_ in ELEMENTS.items() if type_ == field.type.value_type)
        return Column(name=field.name, kind=kind, element=element, length=field.type.list_size)
    type_ = field.type.value_type if pt.is_dictionary(field.type) else field.type
    if field.name in identity and pt.is_float16(type_):
        raise InvalidInputError(
            f"column {field.name!r} of {source.path} has type {type_}, which has too few digits "
            "to name records or subjects",
            hint="write the ids as text, or as whole numbers of 64 bits",
        )
    if field.name in text_columns or (field.name in identity and pt.is_decimal(type_)):
        kind = ColumnKind.TEXT
    return Column(name=field.name, kind=kind)


def _is_beyond_64_bits(cells: Array) -> bool:
    if pt.is_dictionary(cells.type):
        cells = cells.dictionary
    return pt.is_uint64(cells.type) and bool(pc.any(pc.greater(cells, _MOST)).as_py())


def _infer_csv(
    source: Source, identity: Collection[str], text_columns: Collection[str]
) -> tuple[Column, ...]:
    evidence = [_Evidence(name, name in identity) for name in source.schema.names]
    for first_row, batch in source.batches():
        for seen, cells in zip(evidence, batch.columns, strict=True):
            seen.take(cells, first_row)
    return tuple(seen.column(source, as_text=seen.name in text_columns) for seen in evidence)


@dataclass(slots=True)
class _Evidence:
    """What the cells of a CSV column have been so far."""

    name: str
    identity: bool
    number_row: int | None = None
    word_row: int | None = None
    whole: bool = True
    plain: bool = True
    boolean: bool = True
    missing_row: int | None = None
    empty: bool = False

    def take(self, written: Array, first_row: int) -> None:
        """Look at the next cells; surrounding spaces count for ids alone."""
        cells: Array = pc.ascii_trim_whitespace(written)
        missing: Array = pc.is_in(cells, value_set=MISSING)
        number = _matching(cells, NUMBER)
        word: Array = pc.invert(pc.or_(number, missing))
        if (at := pc.index(missing, True).as_py()) >= 0:
            self.missing_row = self.missing_row or first_row + at
        self.empty |= cells.null_count > 0
        if (at := pc.index(number, True).as_py()) >= 0:
            self.number_row = self.number_row or first_row + at
            numbers = cells.filter(number)
            self.whole = self.whole and _all(numbers, INTEGER) and _fits_64_bits(numbers)
            if self.identity:
                self.plain = self.plain and _all(written.filter(number), PLAIN_INTEGER)
        if (at := pc.index(word, True).as_py()) >= 0:
            self.word_row = self.word_row or first_row + at
            self.boolean = self.boolean and _all(cells.filter(word), BOOLEAN)

    def column(self, source: Source, *, as_text: bool) -> Column:
        """The column by all its cells; in text only an empty cell is null."""
        kind = ColumnKind.TEXT if as_text else self._kind(source)
        nullable = self.empty if kind is ColumnKind.TEXT else self.missing_row is not None
        return Column(name=self.name, kind=kind, nullable=nullable)

    def _kind(self, source: Source) -> ColumnKind:
        if self.identity:
            return self._kind_of_ids(source)
        if self.number_row and self.word_row:
            raise _mixed(source, self.name, self.number_row, self.word_row)
        if self.word_row:
            return ColumnKind.BOOL if self.boolean else ColumnKind.TEXT
        return ColumnKind.INTEGER if self.number_row and self.whole else ColumnKind.REAL

    def _kind_of_ids(self, source: Source) -> ColumnKind:
        if self.word_row:
            return ColumnKind.TEXT
        if self.missing_row:
            raise _missing(source, self.name, self.missing_row)
        return ColumnKind.INTEGER if self.whole and self.plain else ColumnKind.TEXT


def _matching(cells: Array, pattern: str) -> Array:
    matching: Array = pc.match_substring_regex(cells, pattern)
    return matching.fill_null(False)


def _all(cells: Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(cells, pattern)).as_py())


def _fits_64_bits(numbers: Array) -> bool:
    try:
        pc.ascii_ltrim(numbers, "+").cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _mixed(source: Source, name: str, number_row: int, word_row: int) -> InvalidInputError:
    row = max(number_row, word_row)
    now, before = ("text", "a number") if row == word_row else ("a number", "text")
    return InvalidInputError(
        f"column {name!r} of {source.path} mixes numbers and text: row {row} is {now}, "
        f"row {min(number_row, word_row)} is {before}",
        hint=f"--text {name!r} takes the whole column as text",
        row=row,
    )


def _missing(source: Source, name: str, row: int) -> InvalidInputError:
    return InvalidInputError(
        f"row {row} of {source.path} has no id or subject in column {name!r}, which holds numbers",
        hint=f"complete or remove the row; --text {name!r} takes words such as NA as ids",
        row=row,
    )
