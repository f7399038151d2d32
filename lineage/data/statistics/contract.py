"""What every statistic can do, whatever it counts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lineage.errors import StatisticError


class Columns(Protocol):
    """Some rows by their columns: a batch, or a dict of arrays."""

    def __getitem__(self, name: str, /) -> NDArray[np.generic]:
        """A column, one entry a row."""
        ...


class Statistic(ABC):
    """A value that says what it measures, too: called with rows, it gives the same of those.

    So one of no rows is a function for ``run.fit``, and one that was stored can be brought up to
    date with the rows that went or came alone. Equal statistics are stored as equal bytes.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many rows it is of."""

    @property
    @abstractmethod
    def empty(self) -> Self:
        """The same statistic of no rows; equal for two that measure the same."""

    @property
    def repeatable(self) -> bool:
        """Whether it can still measure rows by itself after it was stored."""
        return True

    @abstractmethod
    def __call__(self, columns: Columns) -> Self:
        """The same statistic of these rows alone.

        Raises:
            StatisticError: a column holds what it cannot measure.
        """

    def __add__(self, other: Self) -> Self:
        """The statistic of both sets of rows.

        Raises:
            StatisticError: they do not measure the same.
        """
        return self._moved(other, 1)

    def __sub__(self, other: Self) -> Self:
        """The statistic of these rows without those of ``other``.

        Raises:
            StatisticError: they do not measure the same, or those rows cannot be among these.
        """
        return self._moved(other, -1)

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything about it as values that the codec of training state stores."""

    @classmethod
    @abstractmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of ``state``."""

    @abstractmethod
    def summary(self) -> dict[str, dict[str, object]]:
        """A few numbers a column to be shown: no token, and no value that was counted."""

    @abstractmethod
    def _with(self, other: Self, sign: int) -> Self:
        """The sum or difference with one that measures the same."""

    def _moved(self, other: Self, sign: int) -> Self:
        if type(other) is not type(self) or other.empty != self.empty:
            raise StatisticError(
                "these two statistics do not measure the same",
                hint="add and subtract those of the same columns, in the same order",
            )
        return self._with(other, sign)


def not_among() -> StatisticError:
    """The error of a subtraction that leaves less than nothing."""
    return StatisticError(
        "the rows to be taken off are not among those that were counted",
        hint="subtract only what was added before",
    )
