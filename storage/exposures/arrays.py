"""Runs of equal values in arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def runs(values: NDArray[np.generic]) -> tuple[Counts, Counts]:
    """Where each run of equal values starts, and how long it is.

    >>> runs(np.array([7, 7, 3, 3, 3, 7]))
    (array([0, 2, 5]), array([2, 3, 1]))
    """
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate(([0], changes)) if len(values) else changes
    return starts, np.diff(np.append(starts, len(values)))


def within(sizes: Counts) -> Counts:
    """The place of each entry in its run: ``0, 1, … sizes[0] - 1, 0, 1, …``

    >>> within(np.array([2, 3]))
    array([0, 1, 0, 1, 2])
    """
    starts = np.cumsum(sizes) - sizes
    places: Counts = np.arange(sizes.sum()) - np.repeat(starts, sizes)
    return places


def summed(gaps: Counts, sizes: Counts) -> Counts:
    """Running sums that begin anew with each run.

    >>> summed(np.array([5, 1, 1, 2, 2]), np.array([3, 0, 2]))
    array([5, 6, 7, 2, 4])
    """
    sums = np.concatenate(([0], np.cumsum(gaps)))
    whole: Counts = sums[1:] - np.repeat(sums[np.cumsum(sizes) - sizes], sizes)
    return whole


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Each value once, ascending: ``np.unique``, without its import of masked arrays.

    >>> distinct(np.array([3, 1, 3]))
    array([1, 3])
    """
    ascending = np.sort(values)
    return ascending[runs(ascending)[0]]
