"""Which batches an update learned from: those whose gradients flowed since the update before.

A batch that was handed to the loop is known by an object that travels with it. What the loop
computes from it says so when a gradient flows back, in which backward pass; the optimizer's
parameters say in which passes gradients were collected. Where the two do not settle what an update
learned from, all that it may have learned from is named, and said to be an upper bound.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from lineage.schedule.contract import Positions

NO_PASS = -1
"""The number of the backward pass where none is under way."""

BY_HAND = -2
"""The number of a pass that the loop made itself, without a backward pass of torch."""


class EventSink:
    """Where events of a loop go, until the loop is no longer watched.

    ``stranger`` stands for all that is learned from without anybody knowing what it is.
    ``tracked`` returns the objects whose state checkpoints keep. ``lost`` says that data went where
    nobody follows it, and that its owner was told. ``strange`` counts the gradients that flowed
    through batches that the run does not know; ``buffers`` says how those of its state were when
    such a batch met weights; ``escaped`` that data of one went where nobody follows it.
    """

    __slots__ = ("buffers", "escaped", "lost", "note", "strange", "stranger", "tracked")

    def __init__(
        self,
        note: Callable[[Any], object],
        tracked: Callable[[], Iterable[object]] = tuple,
    ) -> None:
        self.note = note
        self.lost = False
        self.strange = 0
        self.escaped = False
        self.buffers: object = None
        self.tracked = tracked
        self.stranger = DrawnBatch(np.empty(0, np.int64), self, unknown=1)

    def own(self, batch: "DrawnBatch") -> "DrawnBatch":
        """Return a batch of this run; that of another one is a stranger."""
        return batch if batch.sink is self else self.stranger

    def knows(self, batches: Iterable["DrawnBatch"]) -> bool:
        """Return True if all of these are batches of this run, and none is a stranger."""
        return all(each.sink is self and each is not self.stranger for each in batches)

    def close(self) -> None:
        """Let what a loop does with its old batches be of no more interest."""
        self.note = _ignore


def _ignore(_event: object) -> None:
    pass


class DrawnBatch:
    """A batch of a watched loader: its records, and where to tell what the loop does with them.

    ``unknown`` counts records that the dataset does not hold; ``refusal`` says so where the loop
    may not train on them. ``partial`` batches may hold fewer records than are named; ``whole`` is
    the batch that a part was selected from. A part at a ``place`` is one of the ``pieces`` that
    the batch was handed out in, a sample each: all of them together are the batch.
    """

    __slots__ = (
        *("_part", "_places", "learned", "noted", "partial", "place", "records", "refusal", "sink"),
        *("unknown", "whole"),
    )

    def __init__(
        self,
        records: Positions,
        sink: EventSink,
        *,
        unknown: int = 0,
        partial: bool = False,
        whole: "DrawnBatch | None" = None,
        place: int | None = None,
    ) -> None:
        self.records = records
        self.sink = sink
        self.unknown = unknown
        self.partial = partial
        self.whole = self if whole is None else whole
        self.place = place
        self.learned = False
        self.noted = NO_PASS
        self.refusal: Exception | None = None
        self._part: DrawnBatch | None = None
        self._places: Sequence[DrawnBatch] = ()

    @property
    def part(self) -> "DrawnBatch":
        """Some records of this batch; which of them is not known. One record has no parts."""
        if self.place is not None:
            return self.whole.part
        return self if len(self.records) + self.unknown == 1 else self.some

    @property
    def some(self) -> "DrawnBatch":
        """This batch, where it is in doubt whether it is this one: a part even of one record."""
        if self.partial:
            return self
        if self._part is None:
            self._part = self._made_part(None)
        return self._part

    @property
    def pieces(self) -> int:
        """How many pieces this batch was handed out in; 0 if as a whole."""
        return len(self._places)

    def piece(self, place: int, pieces: int) -> "DrawnBatch":
        """Return the piece at a place, of as many as the batch is handed out in."""
        if self.partial or pieces < 2:
            return self
        if not self._places:
            self._places = [self._made_part(each) for each in range(pieces)]
        return self._places[place]

    def _made_part(self, place: int | None) -> "DrawnBatch":
        return DrawnBatch(self.records, self.sink, partial=True, whole=self, place=place)


class Gradients(StrEnum):
    """What an optimizer's parameters held from before, when gradients came or were used."""

    EMPTY = "empty"
    """Nothing that was there after the last backward pass."""
    KEPT = "kept"
    """What the last backward pass left."""
    CHANGED = "changed"
    """The same, clipped, scaled, zeroed or otherwise changed by the loop."""
    FOREIGN = "foreign"
    """What no backward pass left: the loop assigned it."""


class Learned(NamedTuple):
    """What an update learned from.

    ``bound`` says that it may have been less; ``unknown`` that nobody knows what it was.
    """

    batches: Sequence[DrawnBatch]
    bound: bool
    unknown: bool


class UpdateWindow:
    """What happened since the last update of one optimizer.

    ``traced`` windows are told of gradients. Any other takes the loop's word: an update learned
    from what was drawn since the one before. ``last`` is what gradients are of that are there.
    """

    def __init__(self, *, traced: bool = False, last: Sequence[DrawnBatch] = ()) -> None:
        self._traced = traced
        self._drawn: list[DrawnBatch] = []
        self._lost: list[DrawnBatch] = []
        self._last = last
        self._waiting: dict[object, tuple[DrawnBatch, DrawnBatch | None]] = {}
        self._early: set[DrawnBatch] = set()
        self._closed = NO_PASS
        self._discardable = False
        self._begin()

    def _begin(self) -> None:
        self._flowed: dict[DrawnBatch, set[int]] = {}
        self._wholly: dict[DrawnBatch, set[int]] = {}
        self._pieces: dict[DrawnBatch, set[tuple[int, int]]] = {}
        self._collected: set[int] = set()
        self._elsewhere: set[int] = set()
        self._gone: set[int] = set()
        self._excused: set[int] = set()
        self._held = Gradients.EMPTY

    @property
    def pending(self) -> Sequence[DrawnBatch]:
        """The batches that were drawn since the last update, or fetched ahead and not drawn yet."""
        return [*self._drawn, *(batch for batch, _ in self._waiting.values())]

    def draw(self, batch: DrawnBatch) -> None:
        """Take in that a batch was handed to the loop."""
        waiting = self._waiting.items()
        self._waiting = {loader: each for loader, each in waiting if each[0] is not batch}
        if batch in self._early:
            self._early.remove(batch)
            return
        self._drawn.append(batch)
        self._discardable = True

    def hand(self, batch: DrawnBatch, before: DrawnBatch | None, loader: object) -> None:
        """Take in that a loader fetched a batch ahead, and which one ``before``.

        It counts as drawn when the next one is fetched: a step that comes first learned from the
        one before. A step that was seen to learn from neither may have learned from this one. One
        that still waits when another iteration begins was drawn too: the loop may have used it.
        """
        abandoned = self._waiting.get(loader)
        if abandoned is not None and not abandoned[0].learned:
            self.draw(abandoned[0])
        self._waiting[loader] = batch, before

    def flow(self, batch: DrawnBatch, backward: int) -> bool:
        """Take in that a gradient flowed through what was computed from a batch.

        An optimizer may step inside a backward pass: what flows on in it was learned from then.
        Returns True if that step has not named the batch, and nobody can tell any more.
        """
        if backward == self._closed:
            return batch.whole not in self._last
        whole = batch.whole
        self._flowed.setdefault(whole, set()).add(backward)
        if batch is whole:
            self._wholly.setdefault(whole, set()).add(backward)
        elif batch.place is not None:
            self._pieces.setdefault(whole, set()).add((batch.place, backward))
        return False

    def collect(self, backward: int, held: Gradients) -> None:
        """Take in that a backward pass left gradients with parameters, and what these held."""
        if backward == self._closed:
            return
        earlier = self._collected - {backward}
        if not earlier:
            self._held = held
        elif held is not Gradients.KEPT:
            # Thrown away, or moved to where nobody sees them: the update may have used them.
            self._gone |= earlier
        self._collected.add(backward)

    def collect_elsewhere(self, backward: int) -> None:
        """Take in that a backward pass left gradients with parameters of another optimizer."""
        self._elsewhere.add(backward)

    def discard(self) -> None:
        """Take the loop's word that the batch drawn last is not learned from, however often.

        Where a batch was fetched ahead, the loop may mean that one: then nothing is taken back, and
        the step is a bound.
        """
        if any(not batch.learned for batch, _ in self._waiting.values()):
            return
        if self._drawn and self._discardable:
            self._discardable = False
            batch = self._drawn.pop()
            self._excused |= self._flowed.pop(batch, set())
            self._lost.append(batch)

    def update(self, backward: int = NO_PASS, held: Gradients = Gradients.EMPTY) -> Learned:
        """Return what a step learned from, which was done inside a backward pass or outside of any.

        ``held`` is what the parameters held then.
        """
        nothing, foreign = held is Gradients.EMPTY, held is Gradients.FOREIGN
        assigned = foreign and not self._flowed
        # What the loop changed may have been mixed with the gradients of other optimizers.
        mixed = bool(self._collected) and held in (Gradients.CHANGED, Gradients.FOREIGN)
        if self._collected:
            if nothing or foreign:
                self._gone |= self._collected
            held, assigned = self._held, False
        unseen = self._unseen()
        if not mixed:
            self._leave_to_others()
        if self._traced:
            # Nobody sees it where a loop sets gradients to zero through an alias of them.
            again = self._last if held in (Gradients.KEPT, Gradients.CHANGED) else ()
            bound = bool(unseen) or bool(again) or self._in_doubt()
        else:
            again, bound = (() if unseen else self._last), False
        learned = list(dict.fromkeys((*again, *self._flowed, *unseen)))
        for batch in learned:
            batch.learned = True
            bound |= batch.partial
        self._drawn, self._last, self._closed = [], learned, backward
        self._begin()
        return Learned(learned, bound, assigned or not (learned or nothing))

    def _unseen(self) -> list[DrawnBatch]:
        """Return the batches that were handed out, and whose gradients were not seen."""
        unseen = [batch for batch in self._drawn if batch not in self._flowed]
        for batch, before in self._waiting.values():
            if before not in self._drawn and not {batch, before} & self._flowed.keys():
                self._early.add(batch)
                unseen.append(batch)
        return unseen

    def take_lost(self) -> Sequence[DrawnBatch]:
        """Return the batches that the loop discarded, once."""
        lost, self._lost = self._lost, []
        return lost

    def _leave_to_others(self) -> None:
        """Forget what flowed for other optimizers alone, where something flowed for this one."""
        for batch, passes in [*self._flowed.items()]:
            if batch is batch.sink.stranger and not passes & self._collected:
                del self._flowed[batch]
        others = self._elsewhere - self._collected
        if not others:
            return
        own = {batch: passes for batch, passes in self._flowed.items() if not passes <= others}
        if own:
            self._flowed = own

    def _in_doubt(self) -> bool:
        """Return True if the update need not have learned from all whose gradients flowed.

        It did where each flowed as a whole in a backward pass whose gradients were collected and
        stayed, and no pass had others, but for what the loop discarded.
        """
        stayed = self._collected - self._gone
        known = {one for passes in self._flowed.values() for one in passes}
        others = stayed | (self._gone - self._excused)
        return not others <= known or not all(
            self._is_sure(batch, stayed) for batch in self._flowed
        )

    def _is_sure(self, batch: DrawnBatch, stayed: set[int]) -> bool:
        """Return True if gradients of a whole batch stayed with the parameters.

        Of a pass that left gradients with several optimizers it is not known which batch went
        where, unless there was one alone.
        """
        own = {each for each in stayed if each not in self._elsewhere or self._is_alone(each)}
        if self._wholly.get(batch, set()) & own:
            return True
        places = {place for place, backward in self._pieces.get(batch, ()) if backward in own}
        return 0 < batch.pieces == len(places)

    def _is_alone(self, backward: int) -> bool:
        return sum(backward in passes for passes in self._flowed.values()) == 1
