"""Which shard and slice a record belongs to, and whether a division is even enough to train on.

All records of a subject share a placement, so they fall into one cell: one shard and one slice.
"""

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from lineage.errors import PlacementError
from lineage.schedule.contract import Keys
from lineage.schedule.mixer import Domain, mixed, scaled, tweak

Counts = NDArray[np.int64]
"""Records in each cell: (shards, slices)."""


def shards_of(placement: Keys, salt: bytes, shards: int) -> NDArray[np.int64]:
    """The shard of each record (n,), from 0; a function of its placement and the salt alone."""
    return scaled(mixed(placement, tweak(salt, Domain.SHARD)), shards)


def slices_of(placement: Keys, salt: bytes, slices: int) -> NDArray[np.int64]:
    """The slice of each record (n,), from 0; independent of its shard."""
    return scaled(mixed(placement, tweak(salt, Domain.SLICE)), slices)


def cells(placement: Keys, salt: bytes, shards: int, slices: int) -> Counts:
    """How many of these records each cell holds: (shards, slices)."""
    return _tally(placement, np.ones(len(placement)), salt, shards, slices)


def round2(count: int) -> int:
    """Two significant digits, half to even, at least 1: what a nominal size discloses of a count.

    >>> [round2(n) for n in (0, 7, 99, 125, 1797, 60000)]
    [1, 7, 99, 120, 1800, 60000]
    """
    return max(1, round(count, 2 - len(str(count))))


def nominal_cells(counts: Counts) -> tuple[tuple[int, ...], ...]:
    """The sizes to freeze for each shard and slice at the first train: ``round2`` of the counts."""
    return tuple(tuple(map(round2, shard)) for shard in counts.tolist())


def check(placement: Keys, salt: bytes, nominal: Sequence[Sequence[int]], batch_size: int) -> None:
    """Refuse to train on a lumpy division: ``nominal`` gives its shards and slices.

    It is for the first train of a model. A replay or twin never asks: forgetting may empty a cell.

    Raises:
        PlacementError: there are no records; a cell is empty; a cell nominally holds less than half
            a batch (of ``batch_size``, or of all records where these are fewer); or the records of
            some stage are outside 0.5 to 2 times their nominal number. The hint proposes the
            nearest smaller division that passes.
    """
    if not len(placement):
        raise PlacementError("there are no records to train on", hint="add rows to the dataset")
    sizes = np.array(nominal, np.int64)
    shards, slices = sizes.shape
    fault = _fault(cells(placement, salt, shards, slices), sizes, batch_size)
    if fault:
        division = propose(placement, salt, shards, slices, batch_size)
        hint = "the nominal sizes are those of other data: freeze new ones"
        if division != (shards, slices):
            hint = "try --shards {} --slices {}".format(*division)
        raise PlacementError(fault, hint=hint, shards=division[0], slices=division[1])


def propose(
    placement: Keys, salt: bytes, shards: int, slices: int, batch_size: int
) -> tuple[int, int]:
    """The nearest division, with no more shards and slices, that ``check`` accepts when fresh.

    Nearest gives up the fewest shards and slices together, then the fewest shards: they save most.
    One shard of one slice always passes. Divisions with more cells than subjects, or than half
    batches (and an eighth, for rounding), cannot pass and are not tried.
    """
    places, records = np.unique(placement, return_counts=True)
    batch = min(batch_size, len(placement))
    most = min(len(places), 2.25 * len(placement) / batch)
    divisions = product(range(1, shards + 1), range(1, slices + 1))
    nearest = sorted(divisions, key=lambda division: (-sum(division), -division[0]))
    possible = (division for division in nearest if prod(division) <= most)
    return next(d for d in possible if _accepted(_tally(places, records, salt, *d), batch_size))


def _accepted(counts: Counts, batch_size: int) -> bool:
    return not _fault(counts, np.array(nominal_cells(counts)), batch_size)


def _tally(
    placement: Keys, records: NDArray[np.generic], salt: bytes, shards: int, slices: int
) -> Counts:
    cell = shards_of(placement, salt, shards) * slices + slices_of(placement, salt, slices)
    counts = np.bincount(cell, weights=records, minlength=shards * slices)
    return counts.astype(np.int64).reshape(shards, slices)


def _fault(counts: Counts, nominal: Counts, batch_size: int) -> str:
    """What is wrong with a division, or nothing."""
    batch = min(batch_size, int(nominal.sum()))
    if not counts.all():
        shard, piece = np.argwhere(counts == 0)[0]
        return (
            f"{(counts == 0).sum()} of {counts.size} cells are empty (shard {shard}, slice {piece})"
        )
    if 2 * nominal.min() < batch:
        return f"a cell nominally holds {nominal.min()} records, less than half a batch of {batch}"
    ratio = counts.cumsum(axis=1) / nominal.cumsum(axis=1)
    worst = ratio.flat[np.abs(np.log2(ratio)).argmax()]
    if not 0.5 <= worst <= 2:
        return f"a stage holds {worst:.2g} times its nominal number of records"
    return ""
