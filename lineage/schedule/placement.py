"""Which shard and slice a record belongs to, and whether a division is even enough to train on.

All records of a subject share a placement, so they fall into one cell: one shard and one slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, product
from math import prod

import numpy as np
from numpy.typing import NDArray

from lineage.errors import PlacementError
from lineage.schedule.contract import Keys, Selection
from lineage.schedule.mixer import Domain, high, mixed, scaled, tweak
from lineage.schedule.risk import END, Risk

Numbers = NDArray[np.int64]
"""A number a record, from 0: of its shard, or of its slice."""

Counts = NDArray[np.int64]
"""Records in each cell: (shards, slices)."""


@dataclass(frozen=True)
class Division:
    """How records are spread over shards and slices; with the salt, all that decides a cell.

    Shards have ``shares`` of the records; without, equal ones. With a ``risk``, the riskiest are in
    the last shards, and in the last slices of each. Each ``generation`` is drawn anew.
    """

    shards: int = 1
    slices: int = 1
    shares: tuple[int, ...] | None = None
    risk: Risk | None = None
    generation: int = 0

    def cells_of(self, asked: Selection, salt: bytes) -> tuple[Numbers, Numbers]:
        """The shard and the slice of each record, present or not."""
        hashes = mixed(asked.placement, tweak(salt, Domain.SHARD, self.generation))
        if self.risk is None:
            slices = slices_of(asked.placement, salt, self.slices, self.generation)
            if self.shares is None:
                return scaled(hashes, self.shards), slices
            return self._shards_at(high(hashes)), slices
        places = self.risk.places(asked.column(self.risk.column), high(hashes))
        shards = self._shards_at(places)
        width = (self._ends[1:] - self._ends[:-1])[shards]
        within = (places - self._ends[shards]) * np.uint64(self.slices) // width
        return shards, within.astype(np.int64)

    def shard_of(self, asked: Selection, salt: bytes) -> Numbers:
        """The shard of each record (n,)."""
        return self.cells_of(asked, salt)[0]

    def _shards_at(self, places: NDArray[np.uint64]) -> Numbers:
        """The shard at each place of the line from 0 to 2**32."""
        return np.searchsorted(self._ends[1:-1], places, side="right").astype(np.int64)

    @cached_property
    def _ends(self) -> NDArray[np.uint64]:
        """Where each shard begins on the line, rounded up, and where the last ends."""
        shares = self.shares or (1,) * self.shards
        total, ends = sum(shares), accumulate(shares, initial=0)
        return np.array([-(-END * below // total) for below in ends], np.uint64)


def shards_of(placement: Keys, salt: bytes, shards: int, generation: int = 0) -> Numbers:
    """The shard of each record (n,) of a plain division, from 0."""
    return scaled(mixed(placement, tweak(salt, Domain.SHARD, generation)), shards)


def slices_of(placement: Keys, salt: bytes, slices: int, generation: int = 0) -> Numbers:
    """The slice of each record (n,), from 0; independent of its shard."""
    if slices == 1:
        return np.zeros(len(placement), np.int64)
    return scaled(mixed(placement, tweak(salt, Domain.SLICE, generation)), slices)


def cells(asked: Selection, salt: bytes, division: Division) -> Counts:
    """How many of these records each cell holds: (shards, slices)."""
    return _tally(asked, np.ones(len(asked)), salt, division)


def round2(count: int) -> int:
    """Two significant digits, half to even, at least 1: what a nominal size discloses of a count.

    >>> [round2(n) for n in (0, 7, 99, 125, 1797, 60000)]
    [1, 7, 99, 120, 1800, 60000]
    """
    return max(1, round(count, 2 - len(str(count))))


def nominal_cells(counts: Counts) -> tuple[tuple[int, ...], ...]:
    """The sizes to freeze for each shard and slice at the first train: ``round2`` of the counts."""
    return tuple(tuple(map(round2, shard)) for shard in counts.tolist())


def check(
    asked: Selection,
    salt: bytes,
    division: Division,
    nominal: Sequence[Sequence[int]],
    batch_size: int,
) -> None:
    """Refuse to train on a lumpy division, where ``nominal`` gives the sizes of its cells.

    It is for the first train of a model. A replay or twin never asks: forgetting may empty a cell.

    Raises:
        PlacementError: there are no records; a cell is empty; a cell nominally holds less than half
            a batch (of ``batch_size``, or of all records where these are fewer); or the records of
            some stage are outside 0.5 to 2 times their nominal number. The hint proposes the
            nearest smaller division that passes.
    """
    if not len(asked):
        raise PlacementError("there are no records to train on", hint="add rows to the dataset")
    fault = _fault(cells(asked, salt, division), np.array(nominal, np.int64), batch_size)
    if fault:
        nearest = propose(asked, salt, division, batch_size)
        hint = "the nominal sizes are those of other data: freeze new ones"
        if nearest != (division.shards, division.slices):
            hint = "try --shards {} --slices {}".format(*nearest)
        raise PlacementError(fault, hint=hint, shards=nearest[0], slices=nearest[1])


def propose(asked: Selection, salt: bytes, division: Division, batch_size: int) -> tuple[int, int]:
    """The nearest division, with no more shards and slices, that ``check`` accepts when fresh.

    Nearest gives up the fewest shards and slices together, then the fewest shards: they save most.
    One shard of one slice always passes. Divisions with more cells than subjects, or than half
    batches (and an eighth, for rounding), cannot pass and are not tried. Fewer shards are equal.
    """
    _, first, records = np.unique(asked.placement, return_index=True, return_counts=True)
    subjects = asked.take(first)
    batch = min(batch_size, len(asked))
    most = min(len(subjects), 2.25 * len(asked) / batch)
    divisions = product(range(1, division.shards + 1), range(1, division.slices + 1))
    nearest = sorted(divisions, key=lambda size: (-sum(size), -size[0]))
    return next(
        size
        for size in nearest
        if prod(size) <= most
        and _accepted(_tally(subjects, records, salt, _resized(division, *size)), batch_size)
    )


def _resized(division: Division, shards: int, slices: int) -> Division:
    shares = division.shares if shards == division.shards else None
    return replace(division, shards=shards, slices=slices, shares=shares)


def _accepted(counts: Counts, batch_size: int) -> bool:
    return not _fault(counts, np.array(nominal_cells(counts)), batch_size)


def _tally(
    asked: Selection, records: NDArray[np.generic], salt: bytes, division: Division
) -> Counts:
    shards, slices = division.cells_of(asked, salt)
    size = division.shards * division.slices
    counts = np.bincount(shards * division.slices + slices, weights=records, minlength=size)
    return counts.astype(np.int64).reshape(division.shards, division.slices)


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
