"""``stable/1``: the steps of a record follow from its own key, the seed and the epoch alone.

No other record enters the computation, so training without some records is the same schedule with
those records absent: every remaining one keeps its steps and its place among the others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from lineage.errors import ScheduleError
from lineage.schedule.contract import Epoch, Keys, Records, Rows, Selection, Steps, Visits
from lineage.schedule.mixer import Domain, high, mixed, scaled, tweak
from lineage.schedule.placement import Division


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive epochs over the same records: stage ``i`` of a run trains slices ``0..i``."""

    epochs: int
    steps_per_epoch: int


@dataclass(frozen=True, slots=True)
class Timetable:
    """One row an epoch of the whole run, as columns (E,): its stage, steps and hashes."""

    stage: Rows
    first: Steps
    steps: NDArray[np.uint64]
    step_tweak: NDArray[np.uint64]
    order_tweak: NDArray[np.uint64]


@dataclass(frozen=True)
class StableSchedule:
    """The stable schedule of one shard, one stage for each slice; implements ``Schedule``.

    A plain run is shard 0 of 1 with one stage. Epochs are counted over all stages, so no two share
    hashes. Steps and order depend on the salt, the seed and the epoch; cells on the ``division``.
    """

    salt: bytes = field(repr=False)
    seed: int
    shard: int
    division: Division
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        tweak(self.salt, Domain.STEP, self.seed)  # refuses a salt now rather than at the first draw

    @property
    def steps(self) -> int:
        """The nominal length of the whole run."""
        return self.boundaries[-1]

    @cached_property
    def boundaries(self) -> tuple[int, ...]:
        """How many steps are done where each stage ends, ascending."""
        return tuple(accumulate(stage.epochs * stage.steps_per_epoch for stage in self.stages))

    def epochs(self, records: Records, start: int = 0) -> Iterator[Epoch]:
        """The epochs in order, from the whole epoch that holds step ``start`` to the end.

        Raises:
            ScheduleError: ``start`` is outside ``0..steps``.
        """
        numbers = self._epochs_in(start, self.steps)
        entries = self._entries(records)
        return (self._epoch(records, entries, number) for number in numbers)

    def rows(self, records: Records, step: int) -> Rows:
        """The rows of one step, in order; time is linear in the number of records.

        Raises:
            ScheduleError: the run has no such step.
        """
        (number,) = self._epochs_in(step, step + 1)
        entries = self._entries(records)
        members = np.flatnonzero(entries <= self._table.stage[number])
        steps = self._steps_within(records.keys[members], number)
        rows = members[steps == step - self._table.first[number]]
        ranks = self._order_within(records.keys[rows], number)
        return _sorted(rows, ranks, records.tiebreak)

    def sizes(self, asked: Selection, start: int = 0, stop: int | None = None) -> Steps:
        """How many of these records each step in ``start:stop`` visits: (stop - start,).

        Raises:
            ScheduleError: the range is not within ``0..steps``.
        """
        stop = self.steps if stop is None else stop
        entries = self._entries(asked)
        counts = np.zeros(max(stop - start, 0), np.int64)
        for number in self._epochs_in(start, stop):
            members = asked.keys[entries <= self._table.stage[number]]
            first, steps = int(self._table.first[number]), int(self._table.steps[number])
            whole = np.bincount(self._steps_within(members, number), minlength=steps)
            low, high = max(start, first), min(stop, first + steps)
            counts[low - start : high - start] = whole[low - first : high - first]
        return counts

    def visits(self, asked: Selection) -> Visits:
        """Every step that visits each of these records, present or not in any dataset version."""
        table, entries = self._table, self._entries(asked)
        members = np.flatnonzero(entries < len(self.stages))
        exposed = entries[members, None] <= table.stage
        hashes = mixed(asked.keys[members, None], table.step_tweak)
        steps = (table.first + scaled(hashes, table.steps))[exposed]
        return Visits(members[np.nonzero(exposed)[0]], steps, np.ones(len(steps), np.bool_))

    def first_visits(self, asked: Selection) -> Steps:
        """The first step that visits each record (n,); ``steps`` for one that is never visited."""
        table, entries = self._table, self._entries(asked)
        firsts = np.full(len(asked), self.steps, np.int64)
        members = np.flatnonzero(entries < len(self.stages))
        epoch = np.searchsorted(table.stage, entries[members])
        hashes = mixed(asked.keys[members], table.step_tweak[epoch])
        firsts[members] = table.first[epoch] + scaled(hashes, table.steps[epoch])
        return firsts

    @cached_property
    def _table(self) -> Timetable:
        epochs = [stage.epochs for stage in self.stages]
        steps = np.repeat([stage.steps_per_epoch for stage in self.stages], epochs)
        numbers = range(sum(epochs))
        return Timetable(
            stage=np.repeat(np.arange(len(self.stages)), epochs),
            first=np.cumsum(steps) - steps,
            steps=steps.astype(np.uint64),
            step_tweak=self._tweaks(Domain.STEP, numbers),
            order_tweak=self._tweaks(Domain.ORDER, numbers),
        )

    def _tweaks(self, domain: Domain, numbers: range) -> NDArray[np.uint64]:
        return np.array([tweak(self.salt, domain, self.seed, n) for n in numbers], np.uint64)

    def _epochs_in(self, start: int, stop: int) -> range:
        """The numbers of the epochs that hold the steps ``start:stop``."""
        if not 0 <= start <= stop <= self.steps:
            raise ScheduleError(
                f"steps {start} to {stop} are not within this run",
                hint=f"its steps are 0 to {self.steps}",
            )
        first = self._table.first
        ended = (
            np.searchsorted(first[1:], start, side="right") if start < self.steps else len(first)
        )
        return range(int(ended), int(np.searchsorted(first, stop)))

    def _entries(self, asked: Selection) -> Rows:
        """The stage at which each record enters; past the last stage for those of other shards."""
        keys, placement = asked.keys, asked.placement
        if keys.shape != placement.shape:
            raise ScheduleError(f"{len(keys)} keys came with {len(placement)} placements")
        shards, entries = self.division.cells_of(asked, self.salt)
        entries[shards != self.shard] = len(self.stages)
        return entries

    def _steps_within(self, keys: Keys, number: int) -> Steps:
        table = self._table
        return scaled(mixed(keys, table.step_tweak[number]), table.steps[number])

    def _order_within(self, keys: Keys, number: int) -> NDArray[np.uint64]:
        return high(mixed(keys, self._table.order_tweak[number]))

    def _epoch(self, records: Records, entries: Rows, number: int) -> Epoch:
        table = self._table
        members = np.flatnonzero(entries <= table.stage[number])
        keys = records.keys[members]
        steps = self._steps_within(keys, number)
        ranks = np.left_shift(steps.view(np.uint64), np.uint64(32)) | self._order_within(
            keys, number
        )
        sizes = np.bincount(steps, minlength=int(table.steps[number]))
        return Epoch(
            stage=int(table.stage[number]),
            first=int(table.first[number]),
            order=_sorted(members, ranks, records.tiebreak),
            offsets=np.concatenate(([0], np.cumsum(sizes))),
        )


def _sorted(
    rows: Rows, ranks: NDArray[np.uint64], tiebreak: Callable[[Rows], Sequence[bytes]]
) -> Rows:
    """The rows by rank, and by full digest where ranks collide."""
    by_rank = np.argsort(ranks)
    rows, ranks = rows[by_rank], ranks[by_rank]
    same = ranks[1:] == ranks[:-1]
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        rows[tied] = _settled(rows[tied], ranks[tied].tolist(), tiebreak(rows[tied]))
    return rows


def _settled(rows: Rows, ranks: Sequence[int], digests: Sequence[bytes]) -> Rows:
    places = list(zip(ranks, digests, strict=True))
    if len(set(places)) < len(places):
        raise ScheduleError(
            "two records have the same full digest, so nothing can order them",
            hint="a record id may occur once in a dataset version",
        )
    return rows[sorted(range(len(places)), key=places.__getitem__)]
