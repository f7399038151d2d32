"""From what a loader hands out to positions: by row, or by the id of a record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineage.data.version import Version
from lineage.errors import DatasetError
from lineage.schedule.contract import Positions
from storage.rows import keys_of, record_digests

UNKNOWN = -1
"""Where the position of a record would be that the dataset does not hold."""

MISSING = -2
"""Where the position of a record would be whose id was not there."""


class Locator:
    """Finds the present records of a dataset version; a process of a loader may have its copy.

    It holds keyed hashes and no ids.
    """

    def __init__(self, version: Version) -> None:
        records = version.present.records
        order = np.argsort(records.keys)
        self._salt = version.salt
        self._positions = records.positions
        self._keys = records.keys[order]
        self._by_key = records.positions[order]
        if (self._keys[1:] == self._keys[:-1]).any():
            raise DatasetError(
                f"two records of dataset version {version.id} have one key",
                hint="name its records by row, without ids",
            )

    def __len__(self) -> int:
        """The number of records."""
        return len(self._positions)

    def rows(self, rows: Sequence[int] | NDArray[np.integer]) -> Positions:
        """The positions of present records by their row, from 0 (n,)."""
        found: Positions = self._positions[np.asarray(rows, np.intp)]
        return found

    def ids(self, ids: Sequence[object]) -> Positions:
        """The positions of records by their id (n,): ``UNKNOWN``, or ``MISSING`` for None."""
        texts = ["" if each is None else str(each) for each in ids]
        keys = keys_of(record_digests(texts, self._salt))
        found = np.full(len(texts), UNKNOWN)
        places = np.searchsorted(self._keys, keys)
        within = np.flatnonzero(places < len(self._keys))
        known = within[self._keys[places[within]] == keys[within]]
        found[known] = self._by_key[places[known]]
        found[[each is None for each in ids]] = MISSING
        return found


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of present records (n,); as an array they are positions."""

    locator: Locator
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "Rows":
        return Rows(self.locator, self.rows[part])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Positions:
        return self.locator.rows(self.rows)
