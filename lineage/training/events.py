"""What a loop does while it is watched: noted by reference as it trains, understood afterwards.

The loop's thread notes that a batch was drawn, that a gradient flowed, that an optimizer did a
step. The thread that writes down what was drawn replays the events in their order, and works out
which update learned from which batch.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pyroaring import BitMap

from lineage.training.update_window import NO_PASS, DrawnBatch, Gradients, UpdateWindow
from storage.exposures import Batch


class WindowOpened(NamedTuple):
    """The steps of one more optimizer are watched."""

    window: UpdateWindow


class WindowClosed(NamedTuple):
    """The steps of an optimizer are watched no more."""

    window: UpdateWindow


class Handed(NamedTuple):
    """A loader fetched a batch ahead of its use; see `UpdateWindow.hand`."""

    batch: DrawnBatch
    before: DrawnBatch | None
    loader: object


class GradientFlowed(NamedTuple):
    """A gradient flowed through what was computed from a batch, in a numbered backward pass."""

    batch: DrawnBatch
    backward: int


class GradientsCollected(NamedTuple):
    """A numbered backward pass left gradients with an optimizer's parameters; what these held."""

    window: UpdateWindow
    backward: int
    held: Gradients


class Updated(NamedTuple):
    """The optimizer did a step; see `UpdateWindow.update`."""

    window: UpdateWindow
    backward: int = NO_PASS
    held: Gradients = Gradients.EMPTY


class TrackLost(NamedTuple):
    """The data of a batch went where it cannot be followed, and may come back unnamed."""


class Discarded(NamedTuple):
    """The batch drawn last is not learned from."""


class Paused(NamedTuple):
    """A checkpoint is kept: what is drawn up to here belongs to it."""


LoopEvent = (
    DrawnBatch
    | Handed
    | WindowOpened
    | WindowClosed
    | GradientFlowed
    | GradientsCollected
    | Updated
    | TrackLost
    | Discarded
    | Paused
)
"""A batch that was handed to the loop, or what else happened."""


class EventReplayer:
    """Makes batches of events, each with its step and whether its update learned from it.

    ``step`` is how many steps were done before the first event. ``unknown`` counts what nobody
    knows of what was given to the loop; ``bounds`` are the steps whose batches are upper bounds.
    """

    def __init__(self, step: int) -> None:
        self.unknown = 0
        self.bounds = BitMap()
        self._step = step
        self._windows: list[UpdateWindow] = []

    def read(self, event: LoopEvent) -> Iterator[Batch]:
        """Return the batches that are settled by one more event."""
        match event:
            case DrawnBatch():
                for window in self._windows:
                    window.draw(event)
            case Handed(batch, before, loader):
                for window in self._windows:
                    window.hand(batch, before, loader)
            case GradientFlowed(batch, backward):
                self.unknown += sum(window.flow(batch, backward) for window in self._windows)
            case GradientsCollected(window, backward, held):
                window.collect(backward, held)
                for other in self._windows:
                    if other is not window:
                        other.collect_elsewhere(backward)
            case Updated():
                yield from self._updated(event)
            case Discarded():
                for window in self._windows:
                    window.discard()
            case TrackLost():
                self.unknown += 1
            case WindowOpened(window):
                self._windows.append(window)
            case WindowClosed(window):
                yield from self._visited((window,))
                self._windows.remove(window)
            case Paused():
                yield from self._visited(self._windows)

    def _updated(self, done: Updated) -> Iterator[Batch]:
        learned = done.window.update(done.backward, done.held)
        for batch in done.window.take_lost():
            yield self._batch(batch, self._step, applied=False)
        for batch in learned.batches:
            yield self._batch(batch, self._step, applied=True)
        if learned.bound or learned.unknown:
            self.bounds.add(self._step)
        self.unknown += learned.unknown
        self._step += 1

    def _visited(self, windows: Iterable[UpdateWindow]) -> Iterator[Batch]:
        """Return what the state has seen, and no update has learned from yet, or ever will.

        Such visits belong to the last step that was done; what waits may be learned later.
        """
        waiting = dict.fromkeys(
            batch for window in windows for batch in (*window.take_lost(), *window.pending)
        )
        for batch in waiting:
            if not batch.learned:
                yield self._batch(batch, max(self._step - 1, 0), applied=False)

    def _batch(self, batch: DrawnBatch, step: int, *, applied: bool) -> Batch:
        self.unknown += batch.unknown
        return step, batch.records, applied
