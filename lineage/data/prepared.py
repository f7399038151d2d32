"""Made rows as the declared columns of the dataset they are to be a part of."""

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from lineage.data.derived import Made
from lineage.data.function import TransformFunction
from lineage.errors import TransformError
from lineage.store import Store
from storage.errors import InvalidInputError
from storage.intake import Column, ColumnKind, Intake, conform, inspect
from storage.rows import Rows


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


@contextmanager
def prepared(
    store: Store,
    function: TransformFunction,
    made: Made,
    texts: Set[str],
    declared: tuple[Column, ...],
) -> Iterator[Part]:
    """Made rows as declared columns, by the rules for files; without ``declared``, declare them.

    Text in columns of the names ``texts`` stays text, and never becomes a category: it was text
    before, and may name people.

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
        intake = _taken_in(function, path, texts, declared)
        yield Part(intake.columns, made, intake)
    finally:
        path.unlink(missing_ok=True)


def _taken_in(
    function: TransformFunction,
    path: Path,
    texts: Set[str],
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
    return replace(intake, columns=tuple(_with_texts(c, texts) for c in intake.columns))


def _with_texts(column: Column, texts: Set[str]) -> Column:
    if column.kind is ColumnKind.CATEGORY and column.name in texts:
        return Column(name=column.name, kind=ColumnKind.TEXT, nullable=column.nullable)
    return column
