"""How often values and tokens occur."""

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineage.data.statistics.contract import Columns, Statistic, not_among
from lineage.errors import StatisticError

Tokenizer: TypeAlias = Callable[[str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class _Tally(Statistic):
    """What occurs in a column, with how often, in ascending order."""

    column: str
    rows: int = 0
    missing: int = 0
    counts: tuple[tuple[Any, int], ...] = ()

    def __post_init__(self) -> None:
        if min(self.missing, self.rows - self.missing, *(n for _, n in self.counts)) < 0:
            raise not_among()

    @property
    def empty(self) -> Self:
        """The same of no rows."""
        return replace(self, rows=0, missing=0, counts=())

    @property
    def total(self) -> int:
        """How many there are in all."""
        return sum(count for _, count in self.counts)

    def __call__(self, columns: Columns) -> Self:
        """The same of these rows alone.

        Raises:
            StatisticError: the column holds what cannot be counted.
        """
        cells = columns[self.column]
        present = self._present(cells)
        counted = self._counted(present)
        return replace(
            self,
            rows=len(cells),
            missing=len(cells) - len(present),
            counts=tuple(sorted(counted.items())),
        )

    def most_common(self, limit: int | None = None) -> tuple[tuple[Any, int], ...]:
        """What occurs most often, with how often; of what is equally frequent the smaller first."""
        return tuple(sorted(self.counts, key=lambda each: -each[1])[:limit])

    def state(self) -> dict[str, Any]:
        """Everything about it, as values that can be stored."""
        counts = json.dumps(self.counts).encode()
        return {
            "column": self.column,
            "rows": self.rows,
            "missing": self.missing,
            "counts": np.frombuffer(counts, np.uint8),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of ``state``."""
        counts = json.loads(np.asarray(state["counts"], np.uint8).tobytes())
        return cls(**{**state, "counts": tuple((value, count) for value, count in counts)})

    def summary(self) -> dict[str, dict[str, object]]:
        """How many rows, nulls, and different values; never which."""
        return {
            self.column: {
                "rows": self.rows,
                "missing": self.missing,
                "total": self.total,
                "distinct": len(self.counts),
            }
        }

    @abstractmethod
    def _present(self, cells: NDArray[np.generic]) -> list[Any]:
        """The cells that are not null."""

    @abstractmethod
    def _counted(self, present: list[Any]) -> Counter[Any]:
        """What occurs in them."""

    def _with(self, other: Self, sign: int) -> Self:
        moved = dict(self.counts)
        for value, count in other.counts:
            moved[value] = moved.get(value, 0) + sign * count
        return replace(
            self,
            rows=self.rows + sign * other.rows,
            missing=self.missing + sign * other.missing,
            counts=tuple(sorted((value, count) for value, count in moved.items() if count)),
        )


@dataclass(frozen=True, slots=True)
class Counts(_Tally):
    """How often each value of a column occurs. A category is counted by its code, −1 for null.

    Other nulls, NaN in a column of numbers, are counted apart: ``missing``.

    >>> Counts.of("ward")({"ward": np.array([2, 1, 2])}).counts
    ((1, 1), (2, 2))
    """

    @classmethod
    def of(cls, column: str) -> Self:
        """The counts of this column, of no rows yet: a function for ``run.fit``."""
        return cls(column)

    def count(self, value: bool | int | float | str) -> int:
        """How often a value occurs."""
        known: dict[object, int] = dict(self.counts)
        return known.get(value, 0)

    def _present(self, cells: NDArray[np.generic]) -> list[Any]:
        if cells.ndim != 1:
            raise StatisticError(
                f"column {self.column!r} holds lists, and only single values are counted",
                hint="take its moments: lineage.Moments.of",
            )
        if cells.dtype.kind == "f":
            # Zero has two signs, which are one value.
            return (cells[~np.isnan(cells)] + 0.0).tolist()  # type: ignore[no-any-return]
        return [cell for cell in cells.tolist() if cell is not None]

    def _counted(self, present: list[Any]) -> Counter[Any]:
        return Counter(present)


@dataclass(frozen=True, slots=True)
class TokenCounts(_Tally):
    """How often each token of a text column occurs; null cells are counted apart: ``missing``.

    Text is split at white space, and tokens stay as they are: nothing is folded or stripped. With
    a ``tokenizer`` of your own, that splits; only its name is stored.

    >>> notes = TokenCounts.of("note")({"note": np.array(["to be or", "not to be", None])})
    >>> notes.vocabulary(3)
    ('be', 'to', 'not')
    """

    tokenizer: str | None = None
    own: Tokenizer | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, column: str, tokenizer: Tokenizer | None = None) -> Self:
        """The token counts of this column, of no rows yet: a function for ``run.fit``."""
        if tokenizer is None:
            return cls(column)
        name = getattr(tokenizer, "__qualname__", type(tokenizer).__qualname__)
        return cls(column, tokenizer=name, own=tokenizer)

    @property
    def repeatable(self) -> bool:
        """Whether it splits at white space: nothing pins the source of another tokenizer."""
        return self.tokenizer is None

    def vocabulary(self, size: int | None = None) -> tuple[str, ...]:
        """The most frequent tokens; of the equally frequent the one first in code points."""
        return tuple(token for token, _ in self.most_common(size))

    def state(self) -> dict[str, Any]:
        """Everything about it but a tokenizer's function, as values that can be stored."""
        return {**_Tally.state(self), "tokenizer": self.tokenizer}

    def _present(self, cells: NDArray[np.generic]) -> list[Any]:
        if cells.dtype != np.object_:
            raise StatisticError(
                f"column {self.column!r} holds no text, and only text has tokens",
                hint="texts with few different values become codes; keep them as text: "
                "dataset add --text COL",
            )
        return [cell for cell in cells.tolist() if cell is not None]

    def _counted(self, present: list[Any]) -> Counter[Any]:
        counted: Counter[Any] = Counter()
        for text in present:
            counted.update(self._split(text))
        if not all(isinstance(token, str) for token in counted):
            raise StatisticError(
                f"tokenizer {self.tokenizer} gives tokens that are not text",
                hint="let it return strings",
            )
        return counted

    @property
    def _split(self) -> Tokenizer:
        if self.tokenizer is None:
            return str.split
        if self.own is None:
            raise StatisticError(
                f"these tokens were split by {self.tokenizer}, which is not stored with them",
                hint="count with lineage.TokenCounts.of(column, tokenizer) instead",
            )
        return self.own
