"""What becomes of the batches that a loop draws: which optimizer step learned from which.

A loop that we only watch draws batches, computes gradients, throws some away and updates. A batch
belongs to the update that follows on its gradient. Where a loop leaves open what a batch was good
for, it is taken to have been learned from: an answer may name a step too many, never one too few.
"""

from collections.abc import Callable
from dataclasses import dataclass

from storage.exposures.log import Records

Append = Callable[[int, Records, bool], None]
"""Writes down a step, the records of a batch, and whether the step's update learned from them."""


@dataclass(slots=True)
class _Drawn:
    """A batch: ``learned`` since a gradient came after it, ``lost`` since that was thrown away."""

    records: Records
    learned: bool = False
    lost: bool = False


class Window:
    """The batches drawn since the last optimizer step; ``step`` counts the steps that were done."""

    def __init__(self, append: Append, step: int) -> None:
        self.step = step
        self._append = append
        self._drawn: list[_Drawn] = []
        self._last: list[_Drawn] = []
        self._gradients = 0

    def draw(self, records: Records) -> None:
        """A batch was handed to the loop."""
        self._drawn.append(_Drawn(records))

    def gradient(self, *, afresh: bool) -> None:
        """Gradients were computed; ``afresh`` where those that had been collected are gone."""
        self._gradients += 1
        for batch in self._drawn:
            if afresh and batch.learned:
                batch.lost = True
            batch.learned = True

    def discard(self) -> None:
        """The batch drawn last is not learned from."""
        if self._drawn and not self._drawn[-1].learned:
            self._drawn[-1].lost = True

    def update(self) -> None:
        """An optimizer step was done: it learned from what had a gradient.

        A batch drawn since the last gradient waits for the next step: the loop reads ahead. A step
        without a new batch, as of a second optimizer, learned from what the one before did. Where
        no gradient was seen at all, it came by a way that is not watched, from anything.
        """
        seen = self._gradients > 0
        learned = [b for b in self._drawn if not b.lost and (b.learned or not seen)]
        for batch in self._drawn:
            if batch.lost:
                self._append(self.step, batch.records, False)
        for batch in learned or self._last:
            self._append(self.step, batch.records, True)
        self._drawn = [b for b in self._drawn if seen and not b.lost and not b.learned]
        self._last = learned or self._last
        self._gradients = 0
        self.step += 1

    def pause(self) -> None:
        """The state is about to be kept: it saw what was drawn, even where no update followed yet.

        Such visits belong to the last step that was done; what still waits may be learned later.
        """
        for batch in self._drawn:
            self._append(self.step - 1, batch.records, False)
        self._drawn = [batch for batch in self._drawn if not batch.lost]
