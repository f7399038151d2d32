"""What becomes of the batches that a loop draws: which update learned from which.

Of a loop that we only watch we see batches being drawn, gradients arriving, and updates. An update
learned from every batch that was drawn since the one before, but for those whose gradients were
thrown away. Where a loop leaves that open, a batch is taken to have been learned from: an answer
may name a step too many, never one too few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lineage.schedule.contract import Positions


@dataclass(slots=True, eq=False)
class Drawn:
    """A batch that was handed to the loop; all windows share it."""

    records: Positions
    learned: bool = False


class Window:
    """The batches drawn since the last update of one optimizer."""

    def __init__(self) -> None:
        self._drawn: list[Drawn] = []
        self._held: set[Drawn] = set()
        self._kept: set[Drawn] = set()
        self._lost: set[Drawn] = set()
        self._last: Sequence[Drawn] = ()

    @property
    def pending(self) -> Sequence[Drawn]:
        """What was drawn since the last update."""
        return self._drawn

    def draw(self, batch: Drawn) -> None:
        """A batch was handed to the loop."""
        self._drawn.append(batch)

    def gradient(self, *, afresh: bool) -> None:
        """Gradients arrived; ``afresh`` where those that had been collected are gone.

        With them goes what they were of, unless nothing was drawn since: gradients of one batch
        may be computed several times. After an update too: what others are added to then is kept.
        """
        if afresh and self._drawn and self._drawn[-1] not in self._held:
            self._lost |= self._held
        elif self._held:
            self._kept.update(self._held.intersection(self._last))
        self._held.update(self._drawn or self._last)

    def discard(self) -> None:
        """The batch drawn last is not learned from, if no gradient of it arrived."""
        if self._drawn and self._drawn[-1] not in self._held:
            self._lost.add(self._drawn[-1])

    def update(self) -> tuple[Sequence[Drawn], Sequence[Drawn]]:
        """The optimizer did a step; returns the batches that were lost before it, and the learned.

        Where none was drawn since its step before, it learned from the same ones again.
        """
        lost: list[Drawn] = []
        learned = self._drawn
        if self._kept or self._lost:  # which is rare, and the loop waits for us
            again = [batch for batch in self._last if batch in self._kept]
            lost = [batch for batch in self._drawn if batch in self._lost]
            learned = [batch for batch in (*again, *self._drawn) if batch not in self._lost]
        self._last = learned or self._last
        self._drawn = []
        for gone in (self._held, self._kept, self._lost):
            gone.clear()
        for batch in learned:
            batch.learned = True
        return lost, self._last

    def forget_lost(self) -> None:
        """What was lost up to here has been written down."""
        self._drawn = [batch for batch in self._drawn if batch not in self._lost]
        self._held -= self._lost
        self._lost = set()
