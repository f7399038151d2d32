"""What every schedule answers, forward (step → records) and inverse (record → steps).

A schedule knows records by numbers, never by their ids: a *key*, which decides the steps of a
stable schedule, a *placement*, which decides shard and slice, and a *position*, by which recorded
visits are written down. The inverse takes bare arrays of these, so that it can be asked about
records that no dataset version holds any more.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lineage.errors import ScheduleError

Keys = NDArray[np.uint64]
"""Keyed 64-bit hashes, one a record: of its id, or of its first subject."""

Positions = NDArray[np.int64]
"""Where each record is in its dataset; never reused."""

Rows = NDArray[np.intp]
"""Indexes into the arrays that were given."""

Column = Callable[[str], NDArray[np.generic]]
"""The cells of a column, one a record, read only where a schedule depends on them."""

Steps = NDArray[np.int64]
"""Nominal optimizer steps, counted from 0 over the whole run; or counts a step."""


def _no_columns(name: str) -> NDArray[np.generic]:
    raise ScheduleError(f"records are placed by column {name!r}, and these came without columns")


@dataclass(frozen=True, slots=True)
class Selection:
    """Some records of a dataset, present or not, as schedules know them; by ascending position.

    ``keys`` (n,) hash the record ids. ``placement`` (n,) hashes each record's first subject, and
    equals ``keys`` where there is none. ``column`` gives cells, for records placed by risk.
    """

    positions: Positions
    keys: Keys
    placement: Keys
    column: Column = field(default=_no_columns, kw_only=True)

    def __len__(self) -> int:
        """The number of records."""
        return len(self.positions)

    def take(self, rows: Rows | NDArray[np.bool_]) -> "Selection":
        """Some of these records, by index or by mask."""
        return Selection(
            self.positions[rows],
            self.keys[rows],
            self.placement[rows],
            column=lambda name: self.column(name)[rows],
        )


@dataclass(frozen=True, slots=True)
class Records(Selection):
    """The present records of a dataset version: what is trained on.

    ``tiebreak`` gives the full record-id digests of some rows; it is called only with rows whose
    hashes collide, at most once for each epoch or step drawn.
    """

    tiebreak: Callable[[Rows], Sequence[bytes]]

    def take(self, rows: Rows | NDArray[np.bool_]) -> "Records":
        """Some of these records, by index or by mask."""
        chosen = np.arange(len(self))[rows]
        return Records(
            self.positions[chosen],
            self.keys[chosen],
            self.placement[chosen],
            lambda tied: self.tiebreak(chosen[tied]),
            column=lambda name: self.column(name)[chosen],
        )


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the records of a stage: consecutive steps and the rows of each.

    Step ``first + i`` trains on ``order[offsets[i]:offsets[i + 1]]``, in that order. ``offsets``
    has one entry more than the epoch has steps; a step may be empty.
    """

    stage: int
    first: int
    order: Rows
    offsets: Steps

    @property
    def steps(self) -> range:
        """The steps of this epoch, counted over the whole run."""
        return range(self.first, self.first + len(self.offsets) - 1)

    def rows(self, step: int) -> Rows:
        """The rows of one of this epoch's steps, in order: a view, nothing is copied."""
        index = self.steps.index(step)
        return self.order[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True, slots=True)
class Visits:
    """Exposures as pairs: the record ``rows[i]`` of those asked about is visited at ``steps[i]``.

    The arrays are (v,), sorted by row and then by step. A record without visits has no pair.
    ``applied`` is false for a visit after which no update followed: it left the weights alone, and
    may have moved running statistics, a loss scale or random numbers.
    """

    rows: Rows
    steps: Steps
    applied: NDArray[np.bool_]


class Forward(Protocol):
    """Which records each step trains on: all that an executor needs.

    Steps, boundaries and lengths are nominal: they come from the specification and do not change
    when records are removed.
    """

    @property
    def steps(self) -> int:
        """The nominal length of the whole run."""
        ...

    @property
    def boundaries(self) -> tuple[int, ...]:
        """How many steps are done where each stage ends, ascending; the last is ``steps``."""
        ...

    def epochs(self, records: Records, start: int = 0) -> Iterator[Epoch]:
        """The epochs in order, from the whole epoch that holds step ``start`` to the end."""
        ...


class Schedule(Forward, Protocol):
    """Which record is trained on at which step, as a pure function that is asked both ways.

    Every answer is *scheduled* exposure.
    """

    def rows(self, records: Records, step: int) -> Rows:
        """The rows of one step, in order, without drawing the rest of its epoch."""
        ...

    def sizes(self, asked: Selection, start: int = 0, stop: int | None = None) -> Steps:
        """How many of these records each step in ``start:stop`` visits: (stop - start,)."""
        ...

    def visits(self, asked: Selection) -> Visits:
        """Every step that visits each of these records."""
        ...

    def first_visits(self, asked: Selection) -> Steps:
        """The first step that visits each record (n,); ``steps`` for one that is never visited.

        The state after ``t`` steps has seen none of them exactly when ``t <= min(first_visits)``.
        """
        ...
