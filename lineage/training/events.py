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


class Fetched(NamedTuple):
    """A watched loader gave a batch, in one ``iteration`` over it; see `EventReplayer`."""

    batch: DrawnBatch
    iteration: object


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
    | Fetched
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

    A trainer fetches batches that it may drop, so it says which ones it begins to train on. What an
    iteration gave of which no batch was trained on was read by somebody else, in a hook of the
    user's say: it was drawn too, at the latest by the next step.
    """

    def __init__(self, step: int) -> None:
        self.unknown = 0
        self.bounds = BitMap()
        self._step = step
        self._windows: list[UpdateWindow] = []
        self._fetched: dict[DrawnBatch, object] = {}
        self._trained_on: set[object] = set()

    def read(self, event: LoopEvent) -> Iterator[Batch]:
        """Return the batches that are settled by one more event."""
        match event:
            case DrawnBatch():
                self._train_on(event)
                self._draw(event)
            case Fetched(batch, iteration):
                if iteration not in self._trained_on:
                    self._fetched[batch] = iteration
            case Handed(batch, before, loader):
                self._train_on(batch)
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
                self._draw_fetched()
                yield from self._visited((window,))
                self._windows.remove(window)
            case Paused():
                self._draw_fetched()
                yield from self._visited(self._windows)

    def _draw(self, batch: DrawnBatch) -> None:
        for window in self._windows:
            window.draw(batch)

    def _train_on(self, batch: DrawnBatch) -> None:
        """Take in that a batch is trained on, and so are those of its iteration, if they are."""
        iteration = self._fetched.get(batch)
        if iteration is not None:
            self._trained_on.add(iteration)
            fetched = self._fetched.items()
            self._fetched = {each: of for each, of in fetched if of != iteration}

    def _draw_fetched(self) -> None:
        """Draw what was fetched by nobody who says what it trains on."""
        for batch in self._fetched:
            self._draw(batch)
        self._fetched = {}

    def _updated(self, done: Updated) -> Iterator[Batch]:
        self._draw_fetched()
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
