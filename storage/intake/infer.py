"""Which kind each column of a file from outside is."""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from storage.errors import InvalidInputError
from storage.intake.columns import ELEMENTS, Column, ColumnKind
from storage.intake.sources import Source
from storage.rows import Array

NUMBER = r"^[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|(?i:inf|infinity))$"
INTEGER = r"^[-+]?[0-9]{1,19}$"
BOOLEAN = r"^(?i:true|false)$"
PLAIN_INTEGER = r"^(?:0|-?[1-9][0-9]{0,18})$"
MISSING = pa.array(["NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", None])


def infer(
    source: Source, *, identity: Collection[str], text_columns: Collection[str]
) -> tuple[Column, ...]:
    """The columns of a file by their types, for CSV by reading every cell; text is TEXT.

    In CSV a column of numbers or of true and false may hold missing cells written as `MISSING`.
    ``identity`` names the columns of ids and subjects: they may mix numbers and text, and whole
    numbers with leading zeros or a plus sign stay text.

    Raises:
        InvalidInputError: a CSV column mixes numbers and text, or a type has no kind.
    """
    if source.is_csv:
        return _infer_csv(source, identity, text_columns)
    columns = [_declared(source, field, text_columns) for field in source.schema]
    seen_null = [False] * len(columns)
    for _, batch in source.batches():
        seen_null = [
            null or column.null_count > 0
            for null, column in zip(seen_null, batch.columns, strict=True)
        ]
    return tuple(
        column.model_copy(update={"nullable": null and column.kind is not ColumnKind.VECTOR})
        for column, null in zip(columns, seen_null, strict=True)
    )


def kind_of(type_: pa.DataType) -> ColumnKind | None:
    """The kind of column an Arrow type becomes; dates, times and labels become text."""
    if pt.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pt.is_fixed_size_list(type_):
        holds_numbers = type_.list_size > 0 and type_.value_type in ELEMENTS.values()
        return ColumnKind.VECTOR if holds_numbers else None
    return next((kind for kind, tests in _TESTS.items() if any(t(type_) for t in tests)), None)


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


def _declared(source: Source, field: Array, text_columns: Collection[str]) -> Column:
    kind = kind_of(field.type)
    if kind is None or (kind is ColumnKind.VECTOR and field.name in text_columns):
        raise InvalidInputError(
            f"column {field.name!r} of {source.path} has type {field.type}, which is not taken in",
            hint="keep numbers, booleans, text, dates, or fixed-size lists of numbers",
        )
    if kind is ColumnKind.VECTOR:
        element = next(n for n, type_ in ELEMENTS.items() if type_ == field.type.value_type)
        return Column(name=field.name, kind=kind, element=element, length=field.type.list_size)
    return Column(name=field.name, kind=ColumnKind.TEXT if field.name in text_columns else kind)


def _infer_csv(
    source: Source, identity: Collection[str], text_columns: Collection[str]
) -> tuple[Column, ...]:
    evidence = [_Evidence(name, name in identity) for name in source.schema.names]
    for first_row, batch in source.batches():
        for seen, cells in zip(evidence, batch.columns, strict=True):
            seen.take(pc.ascii_trim_whitespace(cells), first_row)
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
    missing: bool = False
    empty: bool = False

    def take(self, cells: Array, first_row: int) -> None:
        """Look at the next cells, without surrounding spaces."""
        missing: Array = pc.is_in(cells, value_set=MISSING)
        number = _matching(cells, NUMBER)
        word: Array = pc.invert(pc.or_(number, missing))
        self.missing |= pc.any(missing).as_py()
        self.empty |= cells.null_count > 0
        if (at := pc.index(number, True).as_py()) >= 0:
            self.number_row = self.number_row or first_row + at
            self._look_at_numbers(cells.filter(number))
        if (at := pc.index(word, True).as_py()) >= 0:
            self.word_row = self.word_row or first_row + at
            self.boolean = self.boolean and _all(cells.filter(word), BOOLEAN)

    def _look_at_numbers(self, numbers: Array) -> None:
        self.whole = self.whole and _all(numbers, INTEGER) and _fits_64_bits(numbers)
        self.plain = self.plain and self.identity and _all(numbers, PLAIN_INTEGER)

    def column(self, source: Source, *, as_text: bool) -> Column:
        """The column by all its cells; in text only an empty cell is null."""
        kind = ColumnKind.TEXT if as_text else self._kind(source)
        nullable = self.empty if kind is ColumnKind.TEXT else self.missing
        return Column(name=self.name, kind=kind, nullable=nullable)

    def _kind(self, source: Source) -> ColumnKind:
        if self.number_row and self.word_row:
            if not self.identity:
                raise _mixed(source, self.name, self.number_row, self.word_row)
            return ColumnKind.TEXT
        if self.word_row:
            return ColumnKind.BOOL if self.boolean and not self.identity else ColumnKind.TEXT
        if self.number_row and self.whole:
            return ColumnKind.INTEGER if self.plain or not self.identity else ColumnKind.TEXT
        return ColumnKind.REAL


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
