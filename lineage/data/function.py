"""Transform functions: how they are declared, and what they may return."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lineage.data import frames as pandas_frames
from lineage.errors import TransformError
from lineage.source import Source, source_of
from lineage.user_code import user_code

Scope = Literal["record", "group", "aggregate"]
Frames = Literal["arrow", "pandas"]

RowFunction: TypeAlias = Callable[..., Any]
"""From tables of the inputs' declared columns to a table; or to a table and, for each input, which
of its rows (from 0) each row of the table was made from: a number, several, or None."""

_HINT = "return a table with a row for each input row, or a table and a list of input rows"
_GROUP_HINT = "return a table, or a table and, for each input, which of its rows each was made from"


@dataclass(frozen=True)
class TransformFunction:
    """A function that can be derived with, and executed again. Calling it calls the function."""

    function: RowFunction
    scope: Scope
    by: tuple[str, ...]
    frames: Frames
    source: Source

    def __call__(self, *rows: Any) -> Any:
        """Run the function."""
        return self.function(*rows)


@dataclass(frozen=True, slots=True)
class Output:
    """Rows that a function made, and pairs of a row and an input row that it was made from.

    ``rows`` ascends. ``source`` counts the rows of all inputs from 0, one input after the other.
    Both are int64, shape (p,).
    """

    table: pa.Table
    rows: NDArray[np.int64]
    source: NDArray[np.int64]


def transform(
    scope: Scope, *, by: str | Sequence[str] = (), frames: Frames = "arrow"
) -> Callable[[RowFunction], TransformFunction]:
    """Mark a function from a table, or from one table an input, to a table as a transform.

    ``record``: what it makes of a row depends on that row alone, so f(X∖D) = f(X)∖closure(D). Of
    two inputs, what it makes of two rows with equal ``by`` columns depends on these two alone.
    ``group``: it is executed once for each value of the columns ``by``, over the rows that have it.
    ``aggregate``: every row may depend on all rows. Rows of groups and aggregates come in the order
    of their keyed digests, which is the same wherever they were stored.

    With ``frames="pandas"`` tables are pandas DataFrames. Their index numbers the input rows, and
    the index of a frame that is returned alone says which of them its rows were made from.

    Raises:
        TransformError: there is no such scope, or it has no groups.
        ProgramError: a lambda, a nested function, or one typed into a notebook or standard input.
    """
    for what, value, known in (("scope", scope, Scope), ("frames", frames, Frames)):
        if value not in get_args(known):
            raise TransformError(
                f"a transform cannot have {what} {value!r}",
                hint=f"one of {', '.join(get_args(known))}",
            )
    columns = (by,) if isinstance(by, str) else tuple(by)
    if bool(columns) != (scope == "group") and scope != "record":
        raise TransformError(
            f"a transform of scope {scope!r} {'has no' if columns else 'needs'} key columns",
            hint='for example @transform(scope="group", by="household")',
        )

    def mark(function: RowFunction) -> TransformFunction:
        return TransformFunction(function, scope, columns, frames, source_of(function))

    return mark


def execute(function: TransformFunction, *inputs: pa.Table) -> Output:
    """Run a function over tables, and see which input rows each of its rows came from.

    Raises:
        TransformError: it returned something else than what a transform returns.
        ProgramFailedError: it raised an error of its own, or asked to exit.
    """
    with user_code(function.source.ref, function.source.root):
        if function.frames == "pandas":
            made = pandas_frames.called(function, inputs)
        else:
            made = function(*inputs)
    table, *given = made if isinstance(made, tuple) else (made,)
    if not isinstance(table, pa.Table):
        raise _misfit(function, f"returned {type(table).__name__}, not a pyarrow Table")
    lengths = [each.num_rows for each in inputs]
    if not given:
        return _unsaid(function, table, sum(lengths))
    if len(given) != len(inputs):
        raise _misfit(
            function, f"said of {len(given)} inputs which rows it took, and has {len(inputs)}"
        )
    firsts = np.cumsum([0, *lengths]).tolist()
    pairs = [
        _pairs(function, table.num_rows, length, each, first)
        for each, length, first in zip(given, lengths, firsts, strict=False)
    ]
    rows, source = (np.concatenate(each) for each in zip(*pairs, strict=True))
    order = np.argsort(rows, kind="stable")
    output = Output(table, rows[order], source[order])
    _check_pairs(function, output, len(inputs))
    return output


def _unsaid(function: TransformFunction, table: pa.Table, given: int) -> Output:
    """Row for row where the function says nothing; of a group, each of all its rows."""
    if function.scope == "group":
        rows = np.repeat(np.arange(table.num_rows), given)
        return Output(table, rows, np.tile(np.arange(given), table.num_rows))
    if table.num_rows != given or function.by:
        raise _misfit(
            function,
            f"returned {table.num_rows} rows of {given} and said of {given} "
            "which input row they came from",
        )
    return Output(table, np.arange(given), np.arange(given))


def _pairs(
    function: TransformFunction, count: int, length: int, given: Any, first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs that a function said of one input of ``length`` rows, numbered from ``first``."""
    said = len(given) if hasattr(given, "__len__") else 0
    rows, source = _flat(given) if said else _flat([])
    if said != count:
        raise _misfit(
            function,
            f"returned {count} rows of {length} and said of {said} which input row they came from",
        )
    outside = len(source) and (source.min() < 0 or source.max() >= length)
    if (len(source) and source.dtype.kind not in "iu") or outside:
        raise _misfit(function, f"named input rows that are not among 0 … {length - 1}")
    return rows, source.astype(np.int64) + first


def _flat(given: Any) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Numbers, lists of numbers and None, as pairs of where they stand and a number."""
    try:
        array = np.asarray(given)
    except ValueError:  # lists of several lengths
        array = np.empty((0, 0))
    if array.ndim == 1 and array.dtype != object:
        return np.arange(len(array)), array
    lists = [np.atleast_1d([] if each is None else each) for each in given]
    found = [np.empty(0, np.int64), *(each for each in lists if len(each))]
    return np.repeat(np.arange(len(lists)), [len(each) for each in lists]), np.concatenate(found)


def _check_pairs(function: TransformFunction, output: Output, inputs: int) -> None:
    counts = np.bincount(output.rows, minlength=output.table.num_rows)
    if (counts == 0).any():
        raise _misfit(function, f"named no input row for row {int(np.argmin(counts))} that it made")
    if function.scope != "group" and (counts != inputs).any():
        wanted = "one input row" if inputs == 1 else "one row of each input"
        raise _misfit(function, f"did not name {wanted} for each row that it made")


def _misfit(function: TransformFunction, what: str) -> TransformError:
    hint = _GROUP_HINT if function.by else _HINT
    return TransformError(f"{function.source.ref} {what}", hint=hint)
