"""What a program sees of data: handles without rows, and batches of present records."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineage.training.specification import HandleSpec


@dataclass(frozen=True)
class Handle:
    """A dataset as a program may know it: columns and nominal length, no rows and no statistics."""

    alias: str
    specification: HandleSpec

    def __len__(self) -> int:
        """The nominal number of records: frozen at the first train, never the present count."""
        return self.specification.nominal

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in declared order."""
        return self.specification.columns

    @property
    def categories(self) -> Mapping[str, int]:
        """How many codes each categorical column has: ``0 … n-1``, and -1 for null."""
        return self.specification.categories


class Batch:
    """Some present records: their columns as NumPy arrays, in scheduled order, and their ``keys``.

    ``batch["x"]`` is gathered when asked for: (n,) for a plain column, (n, d) for a vector column.
    ``keys`` (n,) are the keyed hashes that the schedule knows the records by. ``total`` is the
    number of records that the optimizer step learns from, over all micro-batches and processes.
    """

    __slots__ = ("_column", "_rows", "keys", "total")

    def __init__(
        self,
        column: Callable[[str], NDArray[np.generic]],
        rows: NDArray[np.integer],
        keys: NDArray[np.uint64],
        total: int | None = None,
    ) -> None:
        self.total = len(rows) if total is None else total
        self._column = column
        self._rows = rows
        self.keys = keys

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        cells: NDArray[np.generic] = self._column(name)[self._rows]
        return cells

    def __len__(self) -> int:
        """The number of records."""
        return len(self._rows)

    def micro(self, parts: int) -> Iterator["Batch"]:
        """Split into at most ``parts`` nearly equal micro-batches, for gradient accumulation.

        Together they still make up one optimizer step.
        """
        for rows in np.array_split(np.arange(len(self)), min(parts, len(self))):
            yield Batch(self._column, self._rows[rows], self.keys[rows], self.total)


Measure = Callable[[Batch], Mapping[str, float]]
"""From all rows of a dataset to measures by their names."""
