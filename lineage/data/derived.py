"""Rows that a transform makes of stored rows, made ready to be a part of a dataset."""

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyroaring import BitMap

from lineage.data.function import TransformFunction, check_record_scope, derived_ids, execute
from lineage.errors import TransformError
from lineage.store import Store
from storage import manifests
from storage.errors import InvalidInputError
from storage.intake import Column, ColumnKind, Intake, conform, inspect
from storage.rows import Array, Rows, record_digests


@dataclass(frozen=True, slots=True)
class Made:
    """Rows a transform made, their ids and subjects, and the input position of each: (n,)."""

    table: pa.Table
    records: Array
    subjects: Array
    inputs: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """Made rows as the declared columns of their dataset; nothing to read where none were made."""

    columns: tuple[Column, ...]
    made: Made
    intake: Intake | None

    def rows(self) -> Iterator[Rows]:
        """The rows with the ids and subjects they inherit."""
        start = 0
        for batch in () if self.intake is None else self.intake.batches():
            here = slice(start, start + batch.num_rows)
            yield Rows(batch, self.made.records[here], self.made.subjects[here])
            start = here.stop


def make(
    store: Store,
    function: TransformFunction,
    chunks: Sequence[manifests.Chunk],
    positions: BitMap,
    *,
    salt: bytes,
    depth: int,
) -> Made:
    """Execute a function over the rows at some positions: by chunk, or whole where it aggregates.

    Args:
        salt: the dataset's: an aggregate sees its rows in the order of their keyed digests.
        depth: how many transforms the rows will then be away from a file.

    Raises:
        TransformError: the function breaks its scope, or returns what a transform does not; or a
            row has been erased.
    """
    pieces = _given(store, function, chunks, positions)
    if function.scope == "aggregate":
        pieces = _whole(pieces, salt)
    made: list[Made] = []
    for rows, places in pieces:
        table = pa.Table.from_batches([rows.batch])
        if function.scope == "record" and not made:
            check_record_scope(function, table)
        output = execute(function, table)
        made.append(
            Made(
                output.table,
                derived_ids(rows.records, output.source, depth),
                rows.subjects.take(pa.array(output.source)),
                places[output.source],
            )
        )
    joined = _joined(function, made)
    repeated = len(joined.records) - len(pc.unique(joined.records))
    if repeated:
        raise colliding(function, repeated)
    return joined


def colliding(function: TransformFunction, count: int) -> TransformError:
    """The error of made rows whose ids are those of other rows of the output."""
    return TransformError(
        f"{count} rows that {function.source.ref} makes have the ids of other rows",
        hint="a row X makes X, X#1, X#2 …: no row that was added may have such an id",
    )


@contextmanager
def prepared(
    store: Store,
    function: TransformFunction,
    made: Made,
    given: tuple[Column, ...],
    declared: tuple[Column, ...],
) -> Iterator[Part]:
    """Made rows as declared columns, by the rules for files; without ``declared``, declare them.

    Text that is text in the columns ``given`` to the function stays text, and never becomes a
    category: it may name people.

    Raises:
        TransformError: the rows do not fit the columns, or have a type that no column has.
    """
    if made.table.num_rows == 0 and declared:
        yield Part(declared, made, None)
        return
    path = store.objects.temporary().with_suffix(".arrow")
    try:
        with pa.ipc.new_stream(path, made.table.schema) as file:
            file.write_table(made.table)
        intake = _taken_in(function, path, given, declared)
        yield Part(intake.columns, made, intake)
    finally:
        path.unlink(missing_ok=True)


def _taken_in(
    function: TransformFunction,
    path: Path,
    given: tuple[Column, ...],
    declared: tuple[Column, ...],
) -> Intake:
    try:
        if declared:
            return conform(path, declared, id_columns=(), subject_columns=())
        intake = inspect(path, id_columns=(), subject_columns=())
    except InvalidInputError as error:
        what = error.message.replace(str(path), "its output")
        raise TransformError(
            f"what {function.source.ref} makes cannot be kept: {what}",
            hint="return records: numbers, text, or fixed-size lists of numbers, of one kind each",
        ) from error
    texts = {column.name for column in given if column.kind is ColumnKind.TEXT}
    return replace(intake, columns=tuple(_with_texts(c, texts) for c in intake.columns))


def _with_texts(column: Column, texts: Set[str]) -> Column:
    if column.kind is ColumnKind.CATEGORY and column.name in texts:
        return Column(name=column.name, kind=ColumnKind.TEXT, nullable=column.nullable)
    return column


def _given(
    store: Store,
    function: TransformFunction,
    chunks: Sequence[manifests.Chunk],
    positions: BitMap,
) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
    """The rows at these positions and the position of each, chunk by chunk."""
    wanted = np.asarray(positions.to_array(), np.int64)
    start = 0
    for rows in manifests.read_identified(store.objects, chunks, wanted):
        if rows.records.null_count:
            raise TransformError(
                f"{rows.records.null_count} rows to execute {function.source.ref} over are erased",
                hint="leave out everything that was forgotten so far",
            )
        places = wanted[start : start + rows.batch.num_rows]
        start += rows.batch.num_rows
        yield rows, places


def _whole(
    pieces: Iterable[tuple[Rows, NDArray[np.int64]]], salt: bytes
) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
    """All rows as one piece, in an order that does not depend on where they are stored."""
    every = list(pieces)
    if every:
        records = pa.concat_arrays([rows.records for rows, _ in every])
        order = np.lexsort(record_digests(records, salt).view(">u8").T[::-1])
        rows = Rows(
            pa.concat_batches([rows.batch for rows, _ in every]).take(order),
            records.take(pa.array(order)),
            pa.concat_arrays([rows.subjects for rows, _ in every]).take(pa.array(order)),
        )
        yield rows, np.concatenate([places for _, places in every])[order]


def _joined(function: TransformFunction, made: Sequence[Made]) -> Made:
    if not made:
        return Made(pa.table({}), pa.array([], pa.string()), pa.array([]), np.empty(0, np.int64))
    return Made(
        _one_table(function, [each.table for each in made]),
        pa.concat_arrays([each.records for each in made]),
        pa.concat_arrays([each.subjects for each in made]),
        np.concatenate([each.inputs for each in made]),
    )


def _one_table(function: TransformFunction, tables: Sequence[pa.Table]) -> pa.Table:
    try:
        if any(table.column_names != tables[0].column_names for table in tables):
            raise pa.ArrowInvalid("the names of columns differ")
        # Rows with nothing but nulls in a column may have made it a column of type null.
        return pa.concat_tables(tables, promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TransformError(
            f"{function.source.ref} returns other columns for other rows",
            hint="give every column one name and one type, whatever the rows",
        ) from error
