"""An order of one's own: which rows come when, drawn by a sampler that nobody else can ask.

It is drawn an epoch at a time, under a seed of its own, so that a run that goes on after a crash
draws the rest of its epoch as it would have been.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from lineage.errors import ScheduleError
from lineage.schedule import Epoch, Records


class Order(Protocol):
    """What draws the rows of each batch: any batch sampler of torch is one."""

    def __len__(self) -> int:
        """The batches of an epoch; the same for every epoch."""
        ...

    def __iter__(self) -> Iterator[Sequence[int]]:
        """Draw an epoch from the global random generators: rows from 0, for each batch."""
        ...


class DrawnSchedule:
    """The schedule of a run that draws its order; implements ``Forward``.

    ``seeding`` gives, for the number of an epoch, a block inside which generators are seeded.
    """

    def __init__(
        self, order: Order, epochs: int, seeding: Callable[[int], AbstractContextManager[None]]
    ) -> None:
        if not len(order):
            raise ScheduleError(
                "the order has no batches", hint="give the sampler rows, or a smaller batch"
            )
        self._order = order
        self._length = len(order)
        self._seeding = seeding
        self.steps = epochs * self._length

    @property
    def boundaries(self) -> tuple[int, ...]:
        """A run that draws its order has one stage."""
        return (self.steps,)

    def epochs(self, records: Records, start: int = 0) -> Iterator[Epoch]:
        """The epochs in order, from the whole epoch that holds step ``start`` to the end.

        Raises:
            ScheduleError: ``start`` is outside ``0..steps``; or, while it is drawn, an epoch has
                another length than was said, or a row that is not there.
        """
        if not 0 <= start <= self.steps:
            raise ScheduleError(
                f"step {start} is not within this run", hint=f"its steps are 0 to {self.steps}"
            )
        return self._epochs(records, start // self._length)

    def _epochs(self, records: Records, first: int) -> Iterator[Epoch]:
        for number in range(first, self.steps // self._length):
            yield self._draw(number, records)

    def _draw(self, number: int, records: Records) -> Epoch:
        with self._seeding(number):
            batches = [np.asarray(batch, np.intp) for batch in self._order]
        if len(batches) != self._length:
            raise ScheduleError(
                f"epoch {number} has {len(batches)} batches, and its sampler said {self._length}",
                hint="use a sampler whose epochs are all as long as it says",
            )
        sizes = np.array([len(batch) for batch in batches])
        order = np.concatenate(batches)
        strange = np.flatnonzero((order < 0) | (order >= len(records)))
        if len(strange):
            batch = int(np.searchsorted(np.cumsum(sizes), strange[0], side="right"))
            raise ScheduleError(
                f"batch {batch} of epoch {number} has row {order[strange[0]]}, and there are only "
                f"{len(records)}",
                hint="draw from range(len(handle))",
            )
        return Epoch(0, number * self._length, order, np.concatenate(([0], np.cumsum(sizes))))
