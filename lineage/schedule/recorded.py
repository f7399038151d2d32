"""``recorded/1``: the steps of a record are those that were written down when it was visited.

For orders that no function knows beforehand: somebody's own sampler, shuffle or stream. It was
drawn with all records in sight, so training without some follows what is left of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lineage.errors import ScheduleError
from lineage.schedule.contract import Epoch, Positions, Records, Rows, Selection, Steps, Visits
from storage.exposures import Exposures

WINDOW = 2**22
"""Visits that are read together; a longer recording comes in several windows."""


@dataclass(frozen=True)
class RecordedSchedule:
    """What a run of nominally ``steps`` steps was given; implements ``Schedule``.

    An epoch is a window of the recording here: as many steps as are read together.
    """

    exposures: Exposures
    steps: int

    @property
    def boundaries(self) -> tuple[int, ...]:
        """A recorded run has one stage."""
        return (self.steps,)

    def epochs(self, records: Records, start: int = 0) -> Iterator[Epoch]:
        """Windows from step ``start`` to the end; visits that no update followed are left out.

        Raises:
            ScheduleError: ``start`` is outside ``0..steps``.
            RecordingError: the order was not kept.
        """
        self._check(start, self.steps)
        return self._windows(records, start)

    def rows(self, records: Records, step: int) -> Rows:
        """The rows of one step, in order.

        Raises:
            ScheduleError: the run has no such step.
            RecordingError: the order was not kept.
        """
        self._check(step, step + 1)
        return self._window(records, step, step + 1).rows(step)

    def sizes(self, asked: Selection, start: int = 0, stop: int | None = None) -> Steps:
        """How many of these records each step in ``start:stop`` learned from: (stop - start,).

        Raises:
            ScheduleError: the range is not within ``0..steps``.
        """
        stop = self.steps if stop is None else stop
        self._check(start, stop)
        absent = np.setdiff1d(self.exposures.records, asked.positions, assume_unique=True)
        if len(absent) < len(asked):
            batches = self.exposures.batches
            every = np.bincount(
                batches.step, weights=batches.size * batches.applied, minlength=self.steps
            ).astype(np.int64)
            counts = every - self._counts(absent)
        else:
            counts = self._counts(asked.positions)
        return counts[start:stop]

    def visits(self, asked: Selection) -> Visits:
        """Every step that was given each of these records, present or not in any version."""
        return self._visits(asked.positions)

    def first_visits(self, asked: Selection) -> Steps:
        """The first step that was given each record (n,); ``steps`` for one that never was."""
        return self.exposures.first_steps(asked.positions, never=self.steps)

    def _visits(self, positions: Positions) -> Visits:
        batches, found = self.exposures.batches, self.exposures.visits(positions)
        return Visits(found.rows, batches.step[found.batches], batches.applied[found.batches])

    def _counts(self, positions: Positions) -> Steps:
        visits = self._visits(positions)
        return np.bincount(visits.steps[visits.applied], minlength=self.steps)

    def _windows(self, records: Records, start: int) -> Iterator[Epoch]:
        steps = self.exposures.batches.step
        read = np.concatenate(([0], np.cumsum(self.exposures.batches.size)))
        while start < self.steps:
            first = np.searchsorted(steps, start)
            past = np.searchsorted(read, read[first] + WINDOW, side="right") - 1
            stop = int(steps[past]) if past < len(steps) else self.steps
            stop = max(stop, start + 1)
            yield self._window(records, start, stop)
            start = stop

    def _window(self, records: Records, start: int, stop: int) -> Epoch:
        batches = self.exposures.batches
        first, last = np.searchsorted(batches.step, (start, stop)).tolist()
        sizes = batches.size[first:last]
        positions = self.exposures.between(first, last)
        steps = np.repeat(batches.step[first:last] - start, sizes)
        rows = np.searchsorted(records.positions, positions)
        rows[rows == len(records)] = -1
        kept = np.repeat(batches.applied[first:last], sizes)
        if len(records):
            kept &= records.positions[rows] == positions
        else:
            kept[:] = False
        counts = np.bincount(steps[kept], minlength=stop - start)
        return Epoch(0, start, rows[kept], np.concatenate(([0], np.cumsum(counts))))

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.steps:
            raise ScheduleError(
                f"steps {start} to {stop} are not within this run",
                hint=f"its steps are 0 to {self.steps}",
            )
