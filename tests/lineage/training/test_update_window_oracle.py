"""Whatever a loop does with batches and gradients, no update leaves out what it learned from.

The oracle simulates the gradient buffers of two optimizers as sets of batches: an update learns
from what is in its buffer. It says to the replayer what hooks would see of that, and no more.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.training.events import (
    Discarded,
    EventReplayer,
    GradientFlowed,
    GradientsCollected,
    LoopEvent,
    Paused,
    Updated,
    WindowOpened,
)
from lineage.training.update_window import NO_PASS, DrawnBatch, EventSink, Gradients, UpdateWindow

OPTIMIZERS = (0, 1)
NOBODY = -1
"""What stands for data that no watched loader gave."""


class Buffer:
    """The gradients of an optimizer's parameters, by the batches that are in them."""

    def __init__(self) -> None:
        self.inside: set[int] | None = None
        self.aside: set[int] = set()
        self.zeroed: set[int] = set()
        self.changed = False
        self.foreign = False
        self.unknown = False
        self.new = False

    @property
    def held(self) -> Gradients:
        """Return what a hook sees of it."""
        if self.inside is None:
            return Gradients.EMPTY
        if self.foreign:
            return Gradients.FOREIGN
        return Gradients.CHANGED if self.changed else Gradients.KEPT

    def add(self, batches: Collection[int]) -> None:
        """Collect gradients of batches in a backward pass; of none, of what nobody knows."""
        self.inside = {*(self.inside or ()), *(batches or [NOBODY])}
        self.zeroed, self.new = set(), True
        self.changed = self.foreign = False

    def drop(self) -> None:
        """Let go of the gradients."""
        self.inside, self.zeroed = None, set()
        self.foreign = self.unknown = False

    def zero(self) -> None:
        """Set the gradients to zero in place."""
        self.zeroed |= self.inside or set()
        self.inside, self.changed = None if self.inside is None else set(), True

    def move_aside(self) -> None:
        """Add new gradients to a buffer of the loop's own, and let go of them."""
        if self.new:
            self.aside |= self.inside or set()
            self.drop()

    def move_back(self) -> None:
        """Give what is aside to the parameters, which the loop does before it steps."""
        if self.aside:
            self.inside = {*self.aside, *(self.inside or ())}
            self.foreign, self.aside = True, set()


class Simulation:
    """A loop of which everything is known, and what the replayer makes of what it sees."""

    def __init__(self) -> None:
        self.replayer = EventReplayer(0)
        self.windows = [UpdateWindow(traced=True) for _ in OPTIMIZERS]
        self.buffers = [Buffer() for _ in OPTIMIZERS]
        self.batches: list[DrawnBatch] = []
        self.discarded: set[int] = set()
        self.named: set[int] = set()
        self._sink = EventSink(lambda event: None)
        self._pass = 0
        self._step = 0
        for window in self.windows:
            self._tell(WindowOpened(window))

    def draw(self) -> None:
        """Hand one more batch to the loop."""
        number = len(self.batches)
        self.batches.append(DrawnBatch(np.array([number]), self._sink))
        self._tell(self.batches[-1])

    def learn(self, back: Sequence[int], reached: Collection[int]) -> None:
        """Compute gradients of batches, counted from the last one, for some optimizers."""
        batches, backward = self._flowing(back), self._next_pass()
        self._flow(batches, backward)
        for each in reached:
            self._collect(each, batches, backward)

    def use(self, which: int) -> None:
        """Draw a batch and compute its gradients for one optimizer."""
        self.draw()
        self.learn([0], [which])

    def learn_and_step(self, back: Sequence[int], which: int, before: int) -> None:
        """Let an optimizer step inside a backward pass, after some gradients have flowed."""
        batches, backward = self._flowing(back), self._next_pass()
        self._flow(batches[:before], backward)
        self._collect(which, batches, backward)
        unknown = self.replayer.unknown
        step, found = self._updated(which, backward)
        self._flow(batches[before:], backward)
        self._judge(which, step, found, unknown)

    def step(self, which: int) -> None:
        """Let an optimizer do a step."""
        self.buffers[which].move_back()
        unknown = self.replayer.unknown
        step, found = self._updated(which, NO_PASS)
        self._judge(which, step, found, unknown)

    def drop(self, which: int) -> None:
        """Set gradients to None."""
        self.buffers[which].drop()

    def zero(self, which: int) -> None:
        """Set gradients to zero in place."""
        self.buffers[which].zero()

    def scale(self, which: int) -> None:
        """Change gradients in place."""
        self.buffers[which].changed = True

    def move_aside(self, which: int) -> None:
        """Add gradients to a buffer of the loop's own."""
        self.buffers[which].move_aside()

    def discard(self) -> None:
        """Throw away all gradients that the last batch is in, and say so."""
        if not self.batches:
            return
        last = len(self.batches) - 1
        for each in self.buffers:
            if last in (each.inside or ()):
                each.drop()
            if last in each.aside:
                each.aside = set()
        self.discarded.add(last)
        self._tell(Discarded())

    def pause(self) -> None:
        """Keep a checkpoint."""
        self._tell(Paused())

    def _flowing(self, back: Sequence[int]) -> list[int]:
        numbers = dict.fromkeys(len(self.batches) - 1 - each for each in back)
        return [each for each in numbers if each >= 0 and each not in self.discarded]

    def _next_pass(self) -> int:
        self._pass += 1
        return self._pass

    def _flow(self, batches: Sequence[int], backward: int) -> None:
        for each in batches:
            self._tell(GradientFlowed(self.batches[each], backward))

    def _collect(self, which: int, batches: Collection[int], backward: int) -> None:
        held = self.buffers[which].held
        held = Gradients.CHANGED if held is Gradients.FOREIGN else held
        self._tell(GradientsCollected(self.windows[which], backward, held))
        self.buffers[which].add(batches)

    def _updated(self, which: int, backward: int) -> tuple[int, set[int]]:
        found = self._tell(Updated(self.windows[which], backward, self.buffers[which].held))
        self.buffers[which].new = False
        self._step += 1
        return self._step - 1, found

    def _judge(self, which: int, step: int, found: set[int], unknown: int) -> None:
        buffer = self.buffers[which]
        buffer.unknown |= self.replayer.unknown > unknown
        if buffer.unknown:  # so the run is incomplete, and nothing is promised
            return
        truth = buffer.inside or set()
        assert truth - {NOBODY} <= found
        assert NOBODY not in truth or step in self.replayer.bounds
        # Gradients times zero are what the loop makes of them, as are those of masked records.
        assert found <= truth | buffer.zeroed or step in self.replayer.bounds

    def _tell(self, event: LoopEvent) -> set[int]:
        """Tell the replayer; returns the batches that an update learned from."""
        found = set()
        for _, records, applied in self.replayer.read(event):
            self.named.add(records.item())
            if applied:
                found.add(records.item())
        return found


WHICH = st.sampled_from((0, 0, 0, 1))
BACK = st.lists(st.integers(0, 3), max_size=2)
REACHED = st.sampled_from([(0,), (0,), (0, 1), (1,), ()])
OFTEN = st.one_of(
    st.tuples(st.just("draw")),
    st.tuples(st.just("learn"), st.just([0]), REACHED),
    *(st.tuples(st.just(name), WHICH) for name in ("use", "use", "step", "step", "drop")),
)
SELDOM = st.one_of(
    st.tuples(st.just("learn"), BACK, REACHED),
    st.tuples(st.just("learn_and_step"), BACK, WHICH, st.integers(0, 1)),
    *(st.tuples(st.just(name), WHICH) for name in ("zero", "scale", "move_aside")),
    *(st.tuples(st.just(name)) for name in ("discard", "discard", "pause")),
)


@settings(max_examples=2000)
@given(st.lists(OFTEN | SELDOM, max_size=12))
def test_every_update_names_all_it_learned_from_and_marks_more_as_a_bound(
    deeds: list[tuple[Any, ...]],
) -> None:
    loop = Simulation()
    for name, *about in deeds:
        getattr(loop, name)(*about)
    loop.pause()
    assert loop.named == set(range(len(loop.batches)))


PLAIN = st.one_of(
    st.tuples(st.integers(1, 3), st.sampled_from(["drop", "keep"]), st.just(False)),
    st.tuples(st.just(1), st.just("drop"), st.just(True)),
)
"""How many batches are accumulated, what becomes of their gradients, if one more is discarded."""


@given(st.lists(PLAIN, max_size=12))
def test_a_plain_loop_is_told_exactly(rounds: list[tuple[int, str, bool]]) -> None:
    """What outlasts a step makes the next one a bound."""
    loop = Simulation()
    for count, after, discarded in rounds:
        for _ in range(count):
            loop.draw()
            loop.learn([0], OPTIMIZERS)
        if discarded:
            loop.draw()
            loop.discard()
        for which in OPTIMIZERS:
            loop.step(which)
        if after == "drop":
            for which in OPTIMIZERS:
                loop.drop(which)
    kept = [number + 1 for number, (_, after, _) in enumerate(rounds[:-1]) if after == "keep"]
    assert {*loop.replayer.bounds} == {2 * number + which for number in kept for which in (0, 1)}
    assert loop.replayer.unknown == 0
