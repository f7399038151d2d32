"""Transform functions: how they are named, executed, and held to the scope they declare."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from lineage.errors import TransformError
from lineage.source import Source, source_of
from storage.rows import Array

Scope = Literal["record", "aggregate"]
RowFunction = Callable[[pa.Table], "pa.Table | tuple[pa.Table, Sequence[int]]"]
"""From a table of an input's declared columns to a table with one row for each of its rows; or to
any table, and the input row (from 0) that each of its rows was made from."""

SAMPLE = 1_000
_ROUNDS = 2


@dataclass(frozen=True)
class TransformFunction:
    """A function that can be derived with, and executed again. Calling it calls the function."""

    function: RowFunction
    scope: Scope
    source: Source

    def __call__(self, rows: pa.Table) -> pa.Table | tuple[pa.Table, Sequence[int]]:
        """Run the function."""
        return self.function(rows)


@dataclass(frozen=True, slots=True)
class Output:
    """Rows that a function made, and the input row (from 0) of each: int64, shape (n,)."""

    table: pa.Table
    source: NDArray[np.int64]


def transform(scope: Scope) -> Callable[[RowFunction], TransformFunction]:
    """Mark a function from an Arrow table to an Arrow table as a transform.

    ``record``: what it makes of a row depends on that row alone, so f(X∖D) = f(X)∖closure(D).
    ``aggregate``: every row may depend on all rows; they come in the order of their keyed digests,
    which is the same wherever they were stored.

    Raises:
        TransformError: there is no such scope.
        ProgramError: a lambda, a nested function, or one typed into a notebook or standard input.
    """
    if scope not in get_args(Scope):
        raise TransformError(
            f"a transform cannot have scope {scope!r}", hint=f"one of {', '.join(get_args(Scope))}"
        )

    def mark(function: RowFunction) -> TransformFunction:
        return TransformFunction(function, scope, source_of(function))

    return mark


def execute(function: TransformFunction, rows: pa.Table) -> Output:
    """Run a function over rows, and see which input row each of its rows came from.

    Raises:
        TransformError: it returned something else than what a transform returns.
    """
    made = function(rows)
    table, source = made if isinstance(made, tuple) else (made, range(rows.num_rows))
    if not isinstance(table, pa.Table):
        raise _misfit(function, f"returned {type(table).__name__}, not a pyarrow Table")
    given = np.asarray(source)
    if given.shape != (table.num_rows,):
        raise _misfit(
            function,
            f"returned {table.num_rows} rows of {rows.num_rows} and said of {given.size} "
            "which input row they came from",
        )
    outside = len(given) and (given.min() < 0 or given.max() >= rows.num_rows)
    if (len(given) and given.dtype.kind not in "iu") or outside:
        raise _misfit(function, f"named input rows that are not among 0 … {rows.num_rows - 1}")
    return Output(table, given.astype(np.int64))


def check_record_scope(function: TransformFunction, rows: pa.Table) -> None:
    """Execute a function on random subsets of a sample: f(X∖D) must be f(X) less what D became.

    Raises:
        TransformError: it is not.
    """
    random = np.random.default_rng(0)
    count = min(rows.num_rows, SAMPLE)
    sample = rows.take(np.sort(random.choice(rows.num_rows, count, replace=False)))
    whole = execute(function, sample)
    for kept in {1, count // 2, count - 1} - {0, count}:
        for _ in range(_ROUNDS):
            subset = np.sort(random.choice(count, kept, replace=False))
            if not _agree(execute(function, sample.take(subset)), whole, subset):
                raise TransformError(
                    f"{function.source.ref} is declared scope 'record', and what it makes of a row "
                    "depends on other rows",
                    hint='declare @transform(scope="aggregate"): it then taints its whole output',
                )


def derived_ids(records: Array, source: NDArray[np.int64], depth: int) -> Array:
    """The ids of made rows: their input row's, and with ``#1``, ``#2`` … for its further ones.

    There are as many ``#`` as transforms since rows were added from a file, ``depth``: so the
    second row made of ``a`` is never taken for the first one made of ``a#1``.

    >>> derived_ids(pa.array(["a", "b"]), np.array([0, 1, 1, 0]), 1).to_pylist()
    ['a', 'b', 'b#1', 'a#1']
    """
    ranks = _ranks(source)
    suffixes: Array = pa.array(ranks).cast(pa.string())
    ids = records.take(pa.array(source))
    further = pc.binary_join_element_wise(ids, suffixes, "#" * depth)
    return pc.if_else(pa.array(ranks == 0), ids, further)


def _ranks(source: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many earlier entries are equal to each entry."""
    order = np.argsort(source, kind="stable")
    places = np.arange(len(source))
    new = np.append(True, source[order[1:]] != source[order[:-1]])[: len(source)]
    ranks = np.empty(len(source), np.int64)
    ranks[order] = places - np.maximum.accumulate(np.where(new, places, 0))
    return ranks


def _misfit(function: TransformFunction, what: str) -> TransformError:
    return TransformError(
        f"{function.source.ref} {what}",
        hint="return a table with a row for each input row, or a table and a list of input rows",
    )


def _agree(part: Output, whole: Output, subset: NDArray[np.int64]) -> bool:
    """Whether ``part``, made of a subset of the rows, is what ``whole`` says of them."""
    expected = np.isin(whole.source, subset)
    same_rows = np.array_equal(subset[part.source], whole.source[expected])
    return bool(same_rows) and _same_table(part.table, whole.table.filter(pa.array(expected)))


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
