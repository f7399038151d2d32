"""Holding a transform function to the scope it declares, on a sample of what it is given."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from lineage.data.function import Output, TransformFunction, execute
from lineage.errors import TransformError
from storage.rows import Array

SAMPLE = 1_000
_ROUNDS = 2
_SMALL = 8
"""Of so few rows each is left out once: chance may miss the one that matters."""


def check_record_scope(function: TransformFunction, rows: pa.Table) -> None:
    """Execute a function on random subsets of a sample: f(X∖D) must be f(X) less what D became.

    Raises:
        TransformError: it is not.
    """
    random = np.random.default_rng(0)
    count = min(rows.num_rows, SAMPLE)
    sample = rows.take(np.sort(random.choice(rows.num_rows, count, replace=False)))
    _check_subsets(function, [sample], execute(function, sample), random)


def check_group_scope(
    function: TransformFunction, groups: Sequence[tuple[Sequence[pa.Table], Output]]
) -> None:
    """Execute a function again on a sample of the groups, in another order than before.

    Each must come out as it did. Of several inputs in scope ``record``, f(X∖D) must also be f(X)
    less what D became.

    Raises:
        TransformError: a group comes out otherwise.
    """
    random = np.random.default_rng(0)
    rows = 0
    for number in random.permutation(len(groups)).tolist():
        tables, made = groups[number]
        again = execute(function, *tables)
        if not _same(again, made):
            raise TransformError(
                f"{function.source.ref} makes something else of a group when it is executed again",
                hint="let it depend on nothing but the rows it is given: no state, no clock, no "
                "random numbers without a fixed seed",
            )
        if function.scope == "record":
            _check_subsets(function, tables, made, random)
        rows += sum(table.num_rows for table in tables)
        if rows >= SAMPLE:
            break


def _check_subsets(
    function: TransformFunction,
    tables: Sequence[pa.Table],
    whole: Output,
    random: np.random.Generator,
) -> None:
    firsts = np.cumsum([0, *map(len, tables)])
    for subset in _subsets(int(firsts[-1]), random):
        parts = np.split(subset, np.searchsorted(subset, firsts[1:-1]))
        if len(tables) > 1 and not all(map(len, parts)):
            continue
        less = (
            table.take(pa.array(part - first))
            for table, part, first in zip(tables, parts, firsts, strict=False)
        )
        if not _agree(execute(function, *less), whole, subset):
            raise _depends_on_others(function)


def _subsets(count: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Few, many and all but one of some rows, as ascending indexes."""
    for kept in {1, count // 2, count - 1} - {0, count}:
        for _ in range(_ROUNDS):
            yield np.sort(random.choice(count, kept, replace=False))
    for left_out in range(count) if 1 < count <= _SMALL else ():
        yield np.delete(np.arange(count), left_out)


def _depends_on_others(function: TransformFunction) -> TransformError:
    instead = "group" if function.by else "aggregate"
    return TransformError(
        f"{function.source.ref} is declared scope 'record', and what it makes of a row "
        "depends on other rows",
        hint=f'declare scope="{instead}": it then taints its whole '
        f"{'group' if function.by else 'output'}",
    )


def _agree(part: Output, whole: Output, subset: NDArray[np.int64]) -> bool:
    """Whether ``part``, made of a subset of the rows, is what ``whole`` says of them."""
    lost = np.unique(whole.rows[~np.isin(whole.source, subset)])
    kept = ~np.isin(whole.rows, lost)
    rows = ~np.isin(np.arange(whole.table.num_rows), lost)
    left = Output(
        whole.table.filter(pa.array(rows)),
        (np.cumsum(rows) - 1)[whole.rows[kept]],
        whole.source[kept],
    )
    return _same(Output(part.table, part.rows, subset[part.source]), left)


def _same(one: Output, other: Output) -> bool:
    return (
        np.array_equal(one.rows, other.rows)
        and np.array_equal(one.source, other.source)
        and _same_table(one.table, other.table)
    )


def _same_table(one: pa.Table, other: pa.Table) -> bool:
    if one.column_names != other.column_names:
        return False
    try:
        # Rows with nothing but nulls in a column may have made it a column of type null.
        schema = pa.unify_schemas([one.schema, other.schema])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    pairs = zip(one.cast(schema).columns, other.cast(schema).columns, strict=True)
    return all(_same_cells(a, b) for a, b in pairs)


def _same_cells(one: Array, other: Array) -> bool:
    """Whether cells are equal; a NaN equals a NaN, and not a null."""
    if not one.is_null().equals(other.is_null()):
        return False
    if pt.is_fixed_size_list(one.type):
        return _same_cells(pc.list_flatten(one), pc.list_flatten(other))
    if pt.is_floating(one.type):
        one, other = _without_nan(one), _without_nan(other)
    return bool(one.equals(other))


def _without_nan(cells: Array) -> Array:
    return pc.if_else(pc.is_nan(cells), None, cells)
