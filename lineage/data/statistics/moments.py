"""Counts, sums, means, variances of number columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineage.data.statistics.contract import Columns, Statistic, not_among
from lineage.data.statistics.exact import UNIT, quotient, root, sums
from lineage.errors import StatisticError

Number: TypeAlias = "float | NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class Sums:
    """How many numbers, their sum in ``2**-1074``, and that of their squares in ``2**-2148``."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def __post_init__(self) -> None:
        # Cauchy and Schwarz: no numbers have sums that break this.
        if self.count < 0 or self.spread < 0 or (self.count == 0 and self.squares != 0):
            raise not_among()

    @property
    def spread(self) -> int:
        """``count**2`` times their variance, in ``2**-2148``."""
        return self.count * self.squares - self.total**2

    def moved(self, other: "Sums", sign: int) -> "Sums":
        """The sum or difference."""
        return Sums(
            self.count + sign * other.count,
            self.total + sign * other.total,
            self.squares + sign * other.squares,
        )


_NONE = Sums()

Cells: TypeAlias = Sums | tuple[Sums, ...]
"""The sums of a plain column, or of each component of a vector column."""


@dataclass(frozen=True, slots=True)
class Moments(Statistic):
    """The number, sum, mean, variance of the values of some columns, whichever way they came.

    Sums are exact; what is computed of them is the nearest float64. Nulls, which are NaN in a
    column of numbers, are left out and counted apart: see ``missing``. A vector column has the
    moments of each of its components.

    >>> moments = Moments.of("age")({"age": np.array([30.0, 40.0, np.nan])})
    >>> moments.mean("age"), moments.std("age"), moments.missing("age")
    (35.0, 5.0, 1)
    >>> (moments - moments({"age": np.array([40.0])})).mean("age")
    30.0
    """

    columns: tuple[str, ...]
    cells: tuple[Cells, ...]
    rows: int = 0

    def __post_init__(self) -> None:
        if any(self.rows < sums.count for cells in self.cells for sums in _listed(cells)):
            raise not_among()

    @classmethod
    def of(cls, column: str, *columns: str) -> Self:
        """The moments of these columns, of no rows yet: a function for ``run.fit``."""
        names = tuple(dict.fromkeys((column, *columns)))
        return cls(names, (_NONE,) * len(names))

    @property
    def empty(self) -> Self:
        """The same of no rows."""
        return type(self).of(*self.columns)

    def __call__(self, columns: Columns) -> Self:
        """The same of these rows alone.

        Raises:
            StatisticError: a column holds text or an infinite value, or is shorter than another.
        """
        arrays = [columns[name] for name in self.columns]
        lengths = set(map(len, arrays))
        if len(lengths) > 1:
            raise StatisticError(
                f"the columns {', '.join(map(repr, self.columns))} are not equally long",
                hint="give all columns of the same rows",
            )
        measured = tuple(map(_measured, self.columns, arrays))
        return type(self)(self.columns, measured, lengths.pop())

    def count(self, column: str) -> Number:
        """How many values there are, nulls left out."""
        return _each(self._cells(column), lambda sums: sums.count)

    def missing(self, column: str) -> Number:
        """How many rows have null there."""
        return _each(self._cells(column), lambda sums: self.rows - sums.count)

    def sum(self, column: str) -> Number:
        """The sum of the values; infinite where it is beyond the largest float64."""
        return _each(self._cells(column), lambda sums: quotient(sums.total, 1 << UNIT))

    def mean(self, column: str) -> Number:
        """The mean of the values; NaN where there is none."""
        return _each(self._cells(column), _mean)

    def variance(self, column: str) -> Number:
        """The mean square of what the values differ from their mean; NaN where there is none."""
        return _each(self._cells(column), _variance)

    def std(self, column: str) -> Number:
        """The square root of the variance."""
        return _each(self._cells(column), _std)

    def state(self) -> dict[str, Any]:
        """Everything about it, as values that can be stored."""
        stored = {
            name: _stored(cells) if isinstance(cells, Sums) else list(map(_stored, cells))
            for name, cells in zip(self.columns, self.cells, strict=True)
        }
        return {"rows": self.rows, "columns": stored}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of ``state``."""
        columns = dict(state["columns"])
        cells: tuple[Cells, ...] = tuple(
            Sums(*each) if isinstance(each, tuple) else tuple(Sums(*sums) for sums in each)
            for each in columns.values()
        )
        return cls(tuple(columns), cells, state["rows"])

    def summary(self) -> dict[str, dict[str, object]]:
        """Count, nulls, mean and deviation of each column; of a vector, how many components."""
        return {
            name: {
                "count": cells.count,
                "missing": self.rows - cells.count,
                "mean": _mean(cells),
                "std": _std(cells),
            }
            if isinstance(cells, Sums)
            else {"count": self.rows, "components": len(cells)}
            for name, cells in zip(self.columns, self.cells, strict=True)
        }

    def _with(self, other: Self, sign: int) -> Self:
        cells = tuple(
            _moved(name, ours, theirs, sign)
            for name, ours, theirs in zip(self.columns, self.cells, other.cells, strict=True)
        )
        return type(self)(self.columns, cells, self.rows + sign * other.rows)

    def _cells(self, column: str) -> Cells:
        if column not in self.columns:
            raise StatisticError(
                f"these are not the moments of a column {column!r}",
                hint=f"they are of {', '.join(self.columns)}",
            )
        return self.cells[self.columns.index(column)]


def _measured(name: str, values: NDArray[np.generic]) -> Cells:
    if values.dtype.kind not in "biuf":
        raise StatisticError(
            f"column {name!r} holds no numbers, and only numbers have moments",
            hint="count its values: lineage.Counts.of",
        )
    if values.ndim == 2:
        return tuple(_measured_plain(name, component) for component in values.T)
    return _measured_plain(name, values)


def _measured_plain(name: str, values: NDArray[np.generic]) -> Sums:
    if values.dtype.kind == "f":
        values = values[~np.isnan(values)]
        if np.isinf(values).any():
            raise StatisticError(
                f"column {name!r} holds an infinite value, which no sum survives",
                hint="cut the values to a range before they are registered",
            )
    return Sums(len(values), *sums(values))


def _moved(name: str, ours: Cells, theirs: Cells, sign: int) -> Cells:
    ours, theirs = _spread(ours, theirs), _spread(theirs, ours)
    if isinstance(ours, Sums) and isinstance(theirs, Sums):
        return ours.moved(theirs, sign)
    if isinstance(ours, Sums) or isinstance(theirs, Sums) or len(ours) != len(theirs):
        raise StatisticError(
            f"column {name!r} has another number of components in one than in the other",
            hint="add and subtract statistics of one column",
        )
    return tuple(one.moved(other, sign) for one, other in zip(ours, theirs, strict=True))


def _listed(cells: Cells) -> tuple[Sums, ...]:
    return (cells,) if isinstance(cells, Sums) else cells


def _spread(cells: Cells, over: Cells) -> Cells:
    """What was not measured yet does not know how many components there are."""
    return (_NONE,) * len(over) if cells == _NONE and isinstance(over, tuple) else cells


def _each(cells: Cells, number: Callable[[Sums], float]) -> Number:
    if isinstance(cells, Sums):
        return number(cells)
    return np.array([number(each) for each in cells])


def _mean(sums: Sums) -> float:
    return quotient(sums.total, sums.count << UNIT) if sums.count else float("nan")


def _variance(sums: Sums) -> float:
    return quotient(sums.spread, sums.count**2 << 2 * UNIT) if sums.count else float("nan")


def _std(sums: Sums) -> float:
    return root(sums.spread, sums.count**2 << 2 * UNIT) if sums.count else float("nan")


def _stored(sums: Sums) -> tuple[int, int, int]:
    return sums.count, sums.total, sums.squares
