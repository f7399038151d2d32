"""What a loop does while it is watched: noted by reference as it trains, understood afterwards.

The loop's thread notes that a batch was drawn, that a gradient arrived, that an optimizer did a
step. The thread that writes down what was drawn reads the notes in their order, and works out which
update learned from which batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lineage.schedule.contract import Positions
from lineage.training.locate import Locator, Rows
from lineage.training.window import Drawn, Window
from storage.exposures import Batch


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """The steps of one more optimizer are watched."""

    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """A gradient arrived; ``afresh`` where those that had been collected are gone."""

    window: Window
    afresh: bool


@dataclass(frozen=True, slots=True, eq=False)
class Updated:
    """The optimizer did a step."""

    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class Discarded:
    """The batch drawn last is not learned from."""


@dataclass(frozen=True, slots=True, eq=False)
class Paused:
    """A checkpoint is kept: what is drawn up to here belongs to it."""


Note = Positions | Rows | Opened | Arrived | Updated | Discarded | Paused
"""The records of a batch that was drawn, by position or by row; or what else happened."""


class Reader:
    """Makes batches of notes, each with its step and whether its update learned from it.

    ``step`` is how many steps were done before the first note.
    """

    def __init__(self, locator: Locator, step: int) -> None:
        self._locator = locator
        self._step = step
        self._windows: list[Window] = []

    def read(self, note: Note) -> Iterator[Batch]:
        """The batches that are settled by one more note."""
        match note:
            case Updated(window):
                lost, learned = window.update()
                for batch in lost:
                    yield self._step, batch.records, False
                for batch in learned:
                    yield self._step, batch.records, True
                self._step += 1
            case Arrived(window, afresh):
                window.gradient(afresh=afresh)
            case Discarded():
                for window in self._windows:
                    window.discard()
            case Opened(window):
                self._windows.append(window)
            case Paused():
                yield from self._paused()
            case np.ndarray():
                self._draw(note)
            case rows:
                self._draw(self._locator.rows(rows))

    def _draw(self, records: Positions) -> None:
        drawn = Drawn(records)
        for window in self._windows:
            window.draw(drawn)

    def _paused(self) -> Iterator[Batch]:
        """What the state has seen, and no update has learned from yet, or ever will.

        Such visits belong to the last step that was done; what waits may be learned later.
        """
        waiting = dict.fromkeys(batch for window in self._windows for batch in window.pending)
        for batch in waiting:
            if not batch.learned:
                yield self._step - 1, batch.records, False
        for window in self._windows:
            window.forget_lost()
