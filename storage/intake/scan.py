"""Taking a file in: look at all of it, refuse what is wrong, then stream it; nothing is written."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.errors import InvalidInputError
from storage.ids import id_texts, record_ids
from storage.intake.cells import as_declared
from storage.intake.columns import Column, ColumnKind
from storage.intake.infer import infer, keeps_ids_as_text, kind_of
from storage.intake.sources import Source, open_source
from storage.rows import Array

MOST_CATEGORIES = 1_000
_ACCEPTED = {
    *((kind, kind) for kind in ColumnKind),
    (ColumnKind.INTEGER, ColumnKind.REAL),
    (ColumnKind.REAL32, ColumnKind.REAL),
    (ColumnKind.TEXT, ColumnKind.CATEGORY),
}


@dataclass(frozen=True, slots=True)
class Intake:
    """A file that was looked at and can be taken in: its declared columns and its rows."""

    columns: tuple[Column, ...]
    rows: int
    source: Source
    identity: frozenset[str]

    def batches(self, size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The rows in source order, ``size`` at a time (the last batch may be smaller).

        Each batch has the declared columns, in their order and Arrow types.

        Raises:
            InvalidInputError: the file changed since it was looked at.
        """
        typed = _typed(self.source, self.columns, self.identity)
        return _resized((batch for _, batch in typed), size)


def inspect(
    path: Path,
    *,
    id_columns: tuple[str, ...],
    subject_columns: tuple[str, ...],
    text_columns: tuple[str, ...] = (),
) -> Intake:
    """Look at every cell of a file for a new dataset, and declare its columns.

    Text with at most `MOST_CATEGORIES` labels becomes a category with sorted labels, unless it
    names records or subjects. A column in ``text_columns`` is text, whatever it holds and however
    few labels it has.

    Raises:
        InvalidInputError: the file, a column, an id, a subject or a cell is not as it must be.
    """
    source = open_source(path)
    identity = frozenset(id_columns + subject_columns)
    _require(source, (*id_columns, *subject_columns, *text_columns))
    stays_text = identity.union(text_columns)
    columns = tuple(
        column.model_copy(update={"kind": ColumnKind.CATEGORY})
        if column.kind is ColumnKind.TEXT and column.name not in stays_text
        else column
        for column in infer(source, identity=identity, text_columns=text_columns)
    )
    return _scan(source, columns, id_columns, subject_columns, most=MOST_CATEGORIES)


def conform(
    path: Path,
    columns: tuple[Column, ...],
    *,
    id_columns: tuple[str, ...],
    subject_columns: tuple[str, ...],
) -> Intake:
    """Look at every cell of a file that grows a dataset of these columns.

    Category labels not seen before are appended, sorted; no code of an old one moves.

    Raises:
        InvalidInputError: as `inspect`; a column is missing, not declared, or of another kind.
    """
    source = open_source(path)
    _require_declared(source, columns, frozenset(id_columns + subject_columns))
    return _scan(source, columns, id_columns, subject_columns, most=None)


def _scan(
    source: Source,
    columns: tuple[Column, ...],
    id_columns: tuple[str, ...],
    subject_columns: tuple[str, ...],
    *,
    most: int | None,
) -> Intake:
    identity = frozenset(id_columns + subject_columns)
    _refuse_vectors(columns, identity)
    labels: dict[str, set[str]] = {
        column.name: set() for column in columns if column.kind is ColumnKind.CATEGORY
    }
    fingerprints: list[NDArray[np.uint64]] = []
    rows = 0
    for first_row, batch in _typed(source, columns, identity):
        _refuse_blanks(source, first_row, batch, id_columns, subject_columns)
        if id_columns:
            fingerprints.append(_fingerprints(record_ids(batch, id_columns)))
        _collect(labels, batch, most)
        rows += batch.num_rows
    if rows == 0:
        raise InvalidInputError(f"{source.path} has no rows", hint="a file has a header and rows")
    if id_columns:
        _refuse_duplicates(source, np.concatenate(fingerprints))
    return Intake(tuple(_with_labels(c, labels) for c in columns), rows, source, identity)


def _typed(
    source: Source, columns: tuple[Column, ...], identity: frozenset[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    for first_row, batch in source.batches():
        yield first_row, as_declared(source, first_row, batch, columns, identity=identity)


def _resized(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    pending: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        start = 0
        while held + batch.num_rows - start >= size:
            pending.append(batch.slice(start, size - held))
            yield _one_batch(pending)
            start, held, pending = start + size - held, 0, []
        if start < batch.num_rows:
            pending.append(batch.slice(start))
            held += batch.num_rows - start
    if pending:
        yield _one_batch(pending)


def _one_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _collect(labels: dict[str, set[str]], batch: pa.RecordBatch, most: int | None) -> None:
    """Add the labels of a batch; a column with more than ``most`` is no category any more."""
    for name in list(labels):
        cells: Array = batch.column(name).drop_null()
        labels[name].update(cells.unique().to_pylist())
        if most is not None and len(labels[name]) > most:
            del labels[name]


def _with_labels(column: Column, labels: dict[str, set[str]]) -> Column:
    if column.kind is not ColumnKind.CATEGORY:
        return column
    if column.name not in labels:
        return column.model_copy(update={"kind": ColumnKind.TEXT})
    new = sorted(labels[column.name].difference(column.categories))
    return column.model_copy(update={"categories": (*column.categories, *new)})


def _require(source: Source, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in source.schema.names:
            near = get_close_matches(name, source.schema.names, n=3, cutoff=0.5)
            offer = f"did you mean {' or '.join(map(repr, near))}?" if near else "see its header"
            raise InvalidInputError(f"{source.path} has no column {name!r}", hint=offer)


def _require_declared(
    source: Source, columns: tuple[Column, ...], identity: frozenset[str]
) -> None:
    declared = [column.name for column in columns]
    for name in declared:
        if name not in source.schema.names:
            raise _other_columns(f"{source.path} lacks the declared column {name!r}")
    for name in source.schema.names:
        if name not in declared:
            raise _other_columns(f"{source.path} has a column {name!r} that was not declared")
    for column in columns:
        given = source.schema.field(column.name).type
        if column.name in identity and column.kind is ColumnKind.TEXT and keeps_ids_as_text(given):
            continue
        if not _fits(column, given, is_csv=source.is_csv):
            raise _other_columns(
                f"column {column.name!r} of {source.path} has type {given} "
                f"and was declared {column.kind.value}"
            )


def _other_columns(message: str) -> InvalidInputError:
    return InvalidInputError(
        message, hint="a dataset grows by files with its own columns; make a new dataset of others"
    )


def _fits(column: Column, given: pa.DataType, *, is_csv: bool) -> bool:
    if column.kind is ColumnKind.VECTOR:
        return bool(given == column.arrow_type)
    return is_csv or pa.types.is_null(given) or (kind_of(given), column.kind) in _ACCEPTED


def _refuse_vectors(columns: tuple[Column, ...], identity: frozenset[str]) -> None:
    for column in columns:
        if column.kind is ColumnKind.VECTOR and column.name in identity:
            raise InvalidInputError(
                f"column {column.name!r} holds vectors and cannot name records or subjects",
                hint="choose a column of text or numbers",
            )


def _refuse_blanks(
    source: Source,
    first_row: int,
    batch: pa.RecordBatch,
    id_columns: tuple[str, ...],
    subject_columns: tuple[str, ...],
) -> None:
    for role, names in (("id", id_columns), ("subject", subject_columns)):
        for name in names:
            blank = _blank(batch.column(name))
            if (index := pc.index(blank, True).as_py()) >= 0:
                raise InvalidInputError(
                    f"row {first_row + index} of {source.path} has no {role} in column {name!r}",
                    hint=f"every record needs its {role}; complete or remove the row",
                    row=first_row + index,
                )


def _blank(column: Array) -> Array:
    empty: Array = pc.equal(pc.utf8_trim_whitespace(id_texts(column)), pa.scalar(""))
    return pc.or_(column.is_null(nan_is_null=True), empty.fill_null(False))


def _fingerprints(ids: Array) -> NDArray[np.uint64]:
    """128-bit hashes, shape (n, 2): equal ids, and for any file of real size only those, agree."""
    hashes = b"".join([blake2b(text.encode(), digest_size=16).digest() for text in ids.to_pylist()])
    return np.frombuffer(hashes, dtype=np.uint64).reshape(-1, 2)


def _refuse_duplicates(source: Source, fingerprints: NDArray[np.uint64]) -> None:
    order = np.lexsort((fingerprints[:, 0], fingerprints[:, 1]))
    same = (fingerprints[order[1:]] == fingerprints[order[:-1]]).all(axis=1)
    if same.any():
        pair = int(np.argmin(np.where(same, order[1:], len(order))))
        first, second = int(order[pair]) + 1, int(order[pair + 1]) + 1
        raise InvalidInputError(
            f"rows {first} and {second} of {source.path} have the same id",
            hint="an id names one record; add an id column that tells them apart",
            rows=(first, second),
        )
