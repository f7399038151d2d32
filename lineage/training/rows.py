"""The rows that a run is given: single ones for loaders, and all of a dataset at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lineage.data.version import Version
from lineage.training.batch import Batch, Handle
from lineage.training.contract import Stateful
from lineage.training.fits import in_shard
from lineage.training.measuring import measuring
from lineage.training.reading import Lent, Permit, RowReader
from lineage.training.specification import RunSpec
from lineage.training.vocabulary import PresentLabels, columns_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunRows:
    """Hands out the present rows of a run's dataset versions, by alias, as ``permit`` allows."""

    spec: RunSpec
    inputs: Mapping[str, Version]
    permit: Permit

    def reader(self, handle: Handle, names: Sequence[str] | None) -> RowReader:
        """Return a reader of single rows with these columns, or all."""
        version = self.inputs[handle.alias]
        column, present = columns_of(version, handle.specification), version.present.positions
        columns = {name: column(name)[present] for name in names or handle.columns}
        return RowReader(self.permit, handle.alias, len(handle), columns)

    def labels(self, handle: Handle, column: str) -> PresentLabels:
        """Return what fits the labels of a category.

        Raises:
            ProgramError: the column is none.
        """
        return PresentLabels.of(self.inputs[handle.alias], handle.specification, column)

    def measured(
        self, function: Callable[[Batch], T], handle: Handle, tracked: Mapping[str, Stateful]
    ) -> T:
        """Return what a function makes of all rows of a dataset, in an order of their own.

        Raises:
            ProgramError: it changes something that is tracked.
        """
        with measuring(tracked, handle.alias):
            return self._whole(function, handle, None, "run.evaluate")

    def fitted(self, function: Callable[[Batch], T], handle: Handle) -> T:
        """Return what a function makes of the rows of a dataset that are in the run's shard."""
        version = self.inputs[handle.alias]
        inside = in_shard(version.present.records, version, self.spec)
        return self._whole(function, handle, inside, "run.fit")

    def _whole(
        self,
        function: Callable[[Batch], T],
        handle: Handle,
        seen: np.ndarray | None,
        what: str,
    ) -> T:
        version = self.inputs[handle.alias]
        present = version.present
        rows = np.lexsort((present.records.keys,))
        if seen is not None:
            rows = rows[seen[rows]]
        lent = Lent(columns_of(version, handle.specification), handle.alias, f"{what} ended")
        batch = Batch(lent, present.positions[rows], present.records.keys[rows])
        with self.permit.rows(handle.alias, seen):
            try:
                return function(batch)
            finally:
                lent.close()
