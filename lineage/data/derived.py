"""Rows that a transform makes of stored rows: what they are, who they are, what they came from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyroaring import BitMap

from lineage.data.function import Output, TransformFunction, execute
from lineage.data.groups import Groups, Input, grouped
from lineage.data.mapping import NONE, RowMapping, Seen
from lineage.data.naming import derived_ids, joined_ids, united
from lineage.data.scope import check_group_scope, check_record_scope
from lineage.errors import TransformError
from storage import manifests
from storage.objects import Objects
from storage.rows import Array, Rows, record_digests


@dataclass(frozen=True, slots=True)
class Made:
    """Rows a transform made, their ids and subjects; output positions count from 0."""

    table: pa.Table
    records: Array
    subjects: Array
    mapping: RowMapping


_Found = tuple[Rows, NDArray[np.int64]]
"""Rows, and the position of each."""

_NONE_MADE = Output(pa.table({}), np.empty(0, np.int64), np.empty(0, np.int64))
_NO_PAIRS = RowMapping(*(np.empty(0, np.int64) for _ in range(4)))


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Rows of all inputs, group by group, and in each group input by input.

    ``starts`` (g + 1) are where the groups begin. ``tables`` has the rows of each input in the same
    order, whose groups begin at ``own_starts``.
    """

    records: Array
    subjects: Array
    positions: NDArray[np.int64]
    places: NDArray[np.int64]
    labels: NDArray[np.int64]
    starts: NDArray[np.int64]
    tables: tuple[pa.Table, ...]
    own_starts: tuple[NDArray[np.int64], ...]

    def of_group(self, number: int) -> tuple[pa.Table, ...]:
        """The rows of a group, input by input."""
        return tuple(
            table.slice(starts[number], starts[number + 1] - starts[number])
            for table, starts in zip(self.tables, self.own_starts, strict=True)
        )


def make(
    objects: Objects,
    function: TransformFunction,
    inputs: Sequence[Input],
    positions: Seen,
    *,
    salt: bytes,
    depth: int,
) -> Made:
    """Execute a function over the rows at some positions: by chunk, by group, or over all of them.

    Args:
        salt: the dataset's: groups and aggregates see their rows in the order of keyed digests.
        depth: how many transforms the rows will then be away from a file.

    Raises:
        TransformError: the function breaks its scope, or returns what a transform does not; or a
            row has been erased.
    """
    if function.by:
        made = _of_groups(objects, function, inputs, positions, salt, depth)
    else:
        made = _of_pieces(objects, function, inputs[0], positions[0], salt, depth)
    repeated = len(made.records) - len(pc.unique(made.records))
    if repeated:
        raise colliding(function, repeated)
    return made


def colliding(function: TransformFunction, count: int) -> TransformError:
    """The error of made rows whose ids are those of other rows of the output."""
    return TransformError(
        f"{count} rows that {function.source.ref} makes have the ids of other rows",
        hint="a row X makes X, X#1, X#2 …: no row that was added may have such an id",
    )


def _nothing(mapping: RowMapping) -> Made:
    return Made(pa.table({}), pa.array([], pa.string()), pa.array([]), mapping)


def _of_pieces(
    objects: Objects,
    function: TransformFunction,
    given: Input,
    positions: BitMap,
    salt: bytes,
    depth: int,
) -> Made:
    """What a function makes of each chunk of one input; or of all of it, where it aggregates."""
    found = _read(objects, function, given, np.asarray(positions.to_array(), np.int64))
    if function.scope == "aggregate":
        rows, places = _one_piece(found, given)
        found = iter(
            [_taken(rows, places, np.lexsort(_digests(rows, salt)))] if len(places) else []
        )
    outputs: list[Output] = []
    who, where = [], []
    for rows, places in found:
        table = pa.Table.from_batches([rows.batch])
        if function.scope == "record" and not outputs:
            check_record_scope(function, table)
        outputs.append(execute(function, table))
        who.append((rows.records, rows.subjects))
        where.append(places)
    if not outputs:
        return _nothing(_NO_PAIRS)
    firsts = np.cumsum([0, *map(len, where)]).tolist()[:-1]
    output = _together(function, outputs, firsts)
    records, subjects = (pa.concat_arrays(each) for each in zip(*who, strict=True))
    source, zeros = np.concatenate(where)[output.source], np.zeros(len(output.source), np.int64)
    return Made(
        output.table,
        derived_ids(records, output.source, depth),
        subjects.take(pa.array(output.source)),
        RowMapping(output.rows, source, zeros, zeros),
    )


def _of_groups(
    objects: Objects,
    function: TransformFunction,
    inputs: Sequence[Input],
    positions: Seen,
    salt: bytes,
    depth: int,
) -> Made:
    """What a function makes of each group of rows of its inputs."""
    groups = grouped(objects, inputs, positions, function.by, salt)
    every = _by_group(objects, function, inputs, groups, salt)
    given = {number: every.of_group(number) for number in range(len(groups.digests))}
    if function.scope == "record":
        given = {number: tables for number, tables in given.items() if all(map(len, tables))}
    outputs = {number: execute(function, *tables) for number, tables in given.items()}
    if not outputs:
        return _nothing(_mapping_of_groups(every, _NONE_MADE))
    check_group_scope(function, [(given[number], made) for number, made in outputs.items()])
    output = _together(
        function, list(outputs.values()), [int(every.starts[number]) for number in outputs]
    )
    if function.scope == "record":
        ids = joined_ids(every.records, output.source.reshape(-1, len(inputs)), depth)
    else:
        names: Array = pa.array([digest.tobytes().hex()[:32] for digest in groups.digests])
        counts = [made.table.num_rows for made in outputs.values()]
        ids = derived_ids(names, np.repeat(np.array([*outputs], np.int64), counts), depth)
    return Made(
        output.table,
        ids,
        united(every.subjects, output.rows, output.source, output.table.num_rows),
        _mapping_of_groups(every, output),
    )


def _by_group(
    objects: Objects,
    function: TransformFunction,
    inputs: Sequence[Input],
    groups: Groups,
    salt: bytes,
) -> _Sorted:
    """Read the rows of some groups, each input's in the order of their keyed digests."""
    count = len(groups.digests)
    tables, own_starts, sorted_labels, whole = [], [], [], []
    for given, positions, labels in zip(inputs, groups.positions, groups.labels, strict=True):
        rows, places = _one_piece(_read(objects, function, given, positions), given)
        order = np.lexsort((*_digests(rows, salt), labels))
        rows, places = _taken(rows, places, order)
        tables.append(pa.Table.from_batches([rows.batch]))
        own_starts.append(np.searchsorted(labels[order], np.arange(count + 1)))
        sorted_labels.append(labels[order])
        whole.append((rows, places))
    label = np.concatenate(sorted_labels)
    order = np.argsort(label, kind="stable")
    taken = pa.array(order)
    return _Sorted(
        pa.concat_arrays([rows.records for rows, _ in whole]).take(taken),
        pa.concat_arrays([rows.subjects for rows, _ in whole]).take(taken),
        np.concatenate([places for _, places in whole])[order],
        np.repeat(np.arange(len(inputs)), [len(places) for _, places in whole])[order],
        label[order],
        np.searchsorted(label[order], np.arange(count + 1)),
        tuple(tables),
        tuple(own_starts),
    )


def _mapping_of_groups(rows: _Sorted, output: Output) -> RowMapping:
    """The pairs of made rows, and one for each row of which nothing was made."""
    unused = np.setdiff1d(np.arange(len(rows.labels)), output.source)
    source = np.concatenate([output.source, unused])
    made = np.concatenate([output.rows, np.full(len(unused), NONE)])
    return RowMapping(made, rows.positions[source], rows.places[source], rows.labels[source])


def _read(
    objects: Objects, function: TransformFunction, given: Input, positions: NDArray[np.int64]
) -> Iterator[_Found]:
    """The rows at these positions and the position of each, chunk by chunk."""
    start = 0
    for rows in manifests.read_identified(objects, given.chunks, positions):
        if rows.records.null_count:
            raise TransformError(
                f"{rows.records.null_count} rows to execute {function.source.ref} over are erased",
                hint="leave out everything that was forgotten so far",
            )
        places = positions[start : start + rows.batch.num_rows]
        start += rows.batch.num_rows
        yield rows, places


def _one_piece(pieces: Iterable[_Found], given: Input) -> _Found:
    every = list(pieces) or [(manifests.no_rows(given.columns), np.empty(0, np.int64))]
    rows = Rows(
        pa.concat_batches([rows.batch for rows, _ in every]),
        pa.concat_arrays([rows.records for rows, _ in every]),
        pa.concat_arrays([rows.subjects for rows, _ in every]),
    )
    return rows, np.concatenate([places for _, places in every])


def _digests(rows: Rows, salt: bytes) -> NDArray[np.generic]:
    """Keys to sort rows by that do not depend on where they are stored, the last one first."""
    return record_digests(rows.records, salt).view(">u8").T[::-1]


def _taken(rows: Rows, places: NDArray[np.int64], order: NDArray[np.intp]) -> _Found:
    taken = pa.array(order)
    batch, records, subjects = rows.batch, rows.records, rows.subjects
    return Rows(batch.take(taken), records.take(taken), subjects.take(taken)), places[order]


def _together(
    function: TransformFunction, outputs: Sequence[Output], firsts: Sequence[int]
) -> Output:
    """Outputs as one; the input rows of each are counted from its own ``first``."""
    made = np.cumsum([0, *(each.table.num_rows for each in outputs)]).tolist()
    return Output(
        _one_table(function, [each.table for each in outputs]),
        np.concatenate([each.rows + at for each, at in zip(outputs, made, strict=False)]),
        np.concatenate([each.source + at for each, at in zip(outputs, firsts, strict=True)]),
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
