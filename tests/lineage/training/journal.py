"""A loop that is watched, event by event, and what is written down of it."""

from collections.abc import Iterable

import numpy as np

from lineage.training.events import (
    Discarded,
    EventReplayer,
    Fetched,
    GradientFlowed,
    GradientsCollected,
    Handed,
    LoopEvent,
    Paused,
    Updated,
    WindowClosed,
    WindowOpened,
)
from lineage.training.update_window import NO_PASS, DrawnBatch, EventSink, Gradients, UpdateWindow

EMPTY, KEPT, CHANGED, FOREIGN = Gradients
Entry = tuple[int, str, bool]


class Journal:
    """A watched loop, and what is written down of it: step, batch, and if it was learned from.

    Batches are letters, one record each. By default two optimizers are watched, whose gradients
    are traced.
    """

    def __init__(self, step: int = 0, optimizers: int = 2, *, traced: bool = True) -> None:
        self.entries: list[Entry] = []
        self.replayer = EventReplayer(step)
        self.windows = [UpdateWindow(traced=traced) for _ in range(optimizers)]
        self._sink = EventSink(self._read)
        self._batches: dict[str, DrawnBatch] = {}
        self._pass = 0
        for window in self.windows:
            self._read(WindowOpened(window))

    def batch(self, letter: str) -> DrawnBatch:
        """Return the batch of a letter."""
        if letter not in self._batches:
            self._batches[letter] = DrawnBatch(np.array([ord(letter)]), self._sink)
        return self._batches[letter]

    def draw(self, letters: str) -> list[Entry]:
        """Hand batches to the loop."""
        return self._live(*map(self.batch, letters))

    def hand(self, letter: str, before: str = "") -> list[Entry]:
        """Let a loader fetch a batch that the loop says it fetches ahead of its use."""
        earlier = self.batch(before) if before else None
        return self._live(Handed(self.batch(letter), earlier, "loader"))

    def fetch(self, letters: str, iteration: int) -> list[Entry]:
        """Let somebody fetch batches, who may or may not say that they are trained on."""
        return self._live(*(Fetched(self.batch(each), iteration) for each in letters))

    def flow(self, letters: str) -> int:
        """Let the gradient of a backward pass flow through batches; returns its number."""
        self._pass += 1
        self._live(*(GradientFlowed(self.batch(each), self._pass) for each in letters))
        return self._pass

    def gradient(self, letters: str, held: Gradients = EMPTY, of: int = 0) -> int:
        """Let a backward pass leave gradients of batches with an optimizer's parameters."""
        backward = self.flow(letters)
        self._live(GradientsCollected(self.windows[of], backward, held))
        return backward

    def update(self, of: int = 0, backward: int = NO_PASS, held: Gradients = KEPT) -> list[Entry]:
        """Let an optimizer do a step."""
        return self._live(Updated(self.windows[of], backward, held))

    def discard(self) -> list[Entry]:
        """Let the loop say that the batch drawn last is not learned from."""
        return self._live(Discarded())

    def pause(self) -> list[Entry]:
        """Keep a checkpoint."""
        return self._live(Paused())

    def close(self, of: int = 0) -> list[Entry]:
        """Watch the steps of an optimizer no more."""
        return self._live(WindowClosed(self.windows[of]))

    @property
    def doubts(self) -> tuple[set[int], int]:
        """The steps that are upper bounds, and how much nobody knows."""
        return set(self.replayer.bounds), self.replayer.unknown

    def _live(self, *events: LoopEvent) -> list[Entry]:
        before = len(self.entries)
        for event in events:
            self._read(event)
        return self.entries[before:]

    def _read(self, event: LoopEvent) -> None:
        for step, records, applied in self.replayer.read(event):
            self.entries.append((step, "".join(map(chr, records)), applied))


def learned(step: int, letters: Iterable[str]) -> list[Entry]:
    return [(step, letter, True) for letter in letters]
