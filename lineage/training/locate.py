"""From what a loader hands out to positions: by row, or by the id of a record."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lineage.data.identity import id_columns
from lineage.data.version import Version
from lineage.errors import DatasetError, ProgramError
from lineage.schedule.contract import Positions
from storage.ids import texts_of
from storage.rows import keys_of, record_digests

Rows = Sequence[int]
"""Rows of present records, from 0, in order."""

UNKNOWN = -1
"""Where the position of a record would be that the dataset does not hold."""

MISSING = -2
"""Where the position of a record would be whose id was not there."""


MOST_KNOWN = 2**20
"""Ids that are kept in memory while a loop is watched; any others are hashed each time."""

Find = Callable[[Sequence[object]], Positions]
"""From ids to positions, or to `UNKNOWN`."""


class Locator:
    """Finds the present records of a dataset version; a process of a loader may have its copy.

    What it hands to another process holds keyed hashes and no ids.
    """

    def __init__(self, version: Version) -> None:
        records = version.present.records
        order = np.argsort(records.keys)
        self.id_columns = id_columns(version)
        self._salt = version.salt
        self._numbers = _KnownNumbers()
        self._texts = _KnownTexts()
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

    def rows(self, rows: Rows) -> Positions:
        """The positions of present records by their row, from 0 (n,).

        Raises:
            ProgramError: rows are no integers.
        """
        try:
            numbers = _packed(rows)
        except (struct.error, TypeError):
            raise ProgramError(
                "the sampler of the loader does not number the items of its dataset",
                hint="say what names the record of a sample: watch(loader, record='id')",
            ) from None
        found: Positions = self._positions[numbers]
        return found

    def ids(self, ids: Sequence[object]) -> Positions:
        """Return the positions of records by their id (n,): ``UNKNOWN``, or ``MISSING`` for None.

        Loops name the same records epoch after epoch: plain ids are hashed once.

        Raises:
            InvalidInputError: an id may have lost digits on its way, or is of a type that names
                nothing.
        """
        kinds = set(map(type, ids))
        if kinds == {int}:
            return self._numbers.find(ids, self._hashed)
        return self._texts.find(ids, self._hashed) if kinds == {str} else self._hashed(ids)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: nobody's ids."""
        return {**vars(self), "_numbers": _KnownNumbers(), "_texts": _KnownTexts()}

    def _hashed(self, ids: Sequence[object]) -> Positions:
        texts = texts_of(ids, self.id_columns)
        keys = keys_of(record_digests([text or "" for text in texts], self._salt))
        found = np.full(len(texts), UNKNOWN)
        places = np.searchsorted(self._keys, keys)
        within = np.flatnonzero(places < len(self._keys))
        known = within[self._keys[places[within]] == keys[within]]
        found[known] = self._by_key[places[known]]
        found[[text is None for text in texts]] = MISSING
        return found


class _KnownTexts:
    """Where texts were found before."""

    def __init__(self) -> None:
        self._places: dict[object, int] = {}

    def find(self, ids: Sequence[object], find: Find) -> Positions:
        """Return the positions of texts, which are found once."""
        try:
            return np.fromiter(map(self._places.__getitem__, ids), np.int64, len(ids))
        except KeyError:
            found = find(ids)
        if len(self._places) < MOST_KNOWN:
            pairs = zip(ids, found.tolist(), strict=True)
            self._places.update(pair for pair in pairs if pair[1] >= 0)
        return found


class _KnownNumbers:
    """Where whole numbers that are small were found before: an array is asked in one go."""

    def __init__(self) -> None:
        self._places = np.full(2**10, UNKNOWN)

    def find(self, ids: Sequence[Any], find: Find) -> Positions:
        """Return the positions of numbers, which are found once."""
        largest = max(ids)
        if largest >= MOST_KNOWN or min(ids) < 0:
            return find(ids)
        numbers = _packed(ids)
        if largest >= len(self._places):
            room = np.full(2 * (largest + 1) - len(self._places), UNKNOWN)
            self._places = np.concatenate((self._places, room))
        found: Positions = self._places[numbers]
        if found.min() < 0:
            self._places[numbers] = found = find(ids)
        return found


def _packed(numbers: Sequence[int]) -> Positions:
    """Return an array of integers, in a third of the time that NumPy takes for them one by one."""
    return np.frombuffer(struct.pack(f"{len(numbers)}q", *numbers), np.int64)
