"""Which update learned from which batch, event by event."""

from collections.abc import Iterable

import numpy as np
import pytest

from lineage.training.events import (
    Discarded,
    EventReplayer,
    GradientFlowed,
    GradientsCollected,
    LoopEvent,
    Paused,
    TrackLost,
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


@pytest.fixture
def journal() -> Journal:
    return Journal()


def learned(step: int, letters: Iterable[str]) -> list[Entry]:
    return [(step, letter, True) for letter in letters]


def test_an_update_learned_from_the_batches_whose_gradients_were_collected(
    journal: Journal,
) -> None:
    journal.draw("ab")
    journal.gradient("a")
    journal.gradient("b", KEPT)
    assert journal.update() == learned(0, "ab")
    journal.draw("c")
    journal.gradient("c")
    assert journal.update() == learned(1, "c")
    assert journal.doubts == (set(), 0)


def test_a_batch_of_long_ago_is_learned_from_when_its_gradient_flows(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    journal.draw("b")
    journal.gradient("ab")
    assert journal.update() == learned(1, "ab")
    assert journal.doubts == (set(), 0)


def test_a_batch_whose_gradient_was_thrown_away_makes_an_upper_bound(journal: Journal) -> None:
    journal.draw("ab")
    journal.gradient("a")
    journal.gradient("b")
    assert journal.update() == learned(0, "ab")
    assert journal.doubts == ({0}, 0)


def test_a_gradient_computed_again_is_of_the_same_batch(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.gradient("a")
    assert journal.update() == learned(0, "a")
    assert journal.doubts == (set(), 0)


@pytest.mark.parametrize("flowed", [True, False])
def test_a_batch_that_is_discarded_was_only_visited(journal: Journal, flowed: bool) -> None:
    journal.draw("a")
    if flowed:
        journal.gradient("a")
    journal.discard()
    journal.draw("b")
    journal.gradient("b")
    assert journal.update() == [(0, "a", False), (0, "b", True)]
    assert journal.doubts == (set(), 0)


def test_the_gradients_of_a_discarded_batch_that_were_kept_make_an_upper_bound(
    journal: Journal,
) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.discard()
    journal.draw("b")
    journal.gradient("b", KEPT)
    assert journal.update() == [(0, "a", False), (0, "b", True)]
    assert journal.doubts == ({0}, 0)


def test_only_the_batch_drawn_last_is_discarded_and_only_once(journal: Journal) -> None:
    assert journal.discard() == []
    journal.draw("a")
    journal.gradient("a")
    journal.draw("b")
    journal.discard()
    journal.discard()
    assert journal.update() == [(0, "b", False), (0, "a", True)]
    assert journal.discard() == []


def test_a_batch_that_is_used_after_it_was_discarded_is_learned_from(journal: Journal) -> None:
    journal.draw("a")
    journal.discard()
    journal.gradient("a")
    assert journal.update() == [(0, "a", False), (0, "a", True)]


def test_a_batch_that_was_drawn_and_not_used_makes_an_upper_bound(journal: Journal) -> None:
    journal.draw("ab")
    journal.gradient("b")
    assert journal.update() == learned(0, "ba")
    assert journal.doubts == ({0}, 0)


def test_an_update_learned_again_from_what_its_parameters_kept(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    assert journal.update(held=KEPT) == learned(1, "a")
    journal.draw("b")
    journal.gradient("b", KEPT)
    assert journal.update() == learned(2, "ab")
    assert journal.doubts == (set(), 0)


def test_what_was_kept_is_an_upper_bound_where_it_was_changed_or_was_one(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    assert journal.update(held=CHANGED) == learned(1, "a")
    assert journal.update(held=KEPT) == learned(2, "a")
    assert journal.doubts == ({1, 2}, 0)
    journal.draw("b")
    journal.gradient("b")
    assert journal.update() == learned(3, "b")
    assert journal.doubts == ({1, 2}, 0)


def test_what_was_kept_may_be_gone_by_a_later_pass(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    journal.draw("b")
    journal.gradient("b", KEPT)
    journal.gradient("b")
    assert journal.update() == learned(1, "ab")
    assert journal.doubts == ({1}, 0)


def test_an_update_with_gradients_of_nothing_known_is_unknown(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    assert journal.update(held=FOREIGN) == []
    assert journal.doubts == ({1}, 1)


def test_gradients_that_the_loop_assigned_are_of_nothing_known(journal: Journal) -> None:
    journal.draw("a")
    assert journal.update(held=FOREIGN) == learned(0, "a")
    assert journal.doubts == ({0}, 1)
    journal.draw("b")
    journal.gradient("b")
    assert journal.update(held=FOREIGN) == learned(1, "b")
    assert journal.doubts == ({0, 1}, 1)


def test_an_update_without_gradients_learned_nothing(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    assert journal.update() == learned(0, "a")
    assert journal.update(held=EMPTY) == []
    assert journal.doubts == (set(), 0)


def test_an_update_whose_gradients_are_gone_is_an_upper_bound(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    assert journal.update(held=EMPTY) == learned(0, "a")
    assert journal.doubts == ({0}, 0)


def test_a_pass_of_nothing_known_makes_an_upper_bound_of_what_is(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.gradient("", KEPT)
    assert journal.update() == learned(0, "a")
    assert journal.doubts == ({0}, 0)


def test_a_gradient_that_did_not_reach_the_parameters_makes_an_upper_bound(
    journal: Journal,
) -> None:
    journal.draw("ab")
    journal.gradient("a")
    journal.flow("b")
    assert journal.update() == learned(0, "ab")
    assert journal.doubts == ({0}, 0)


def test_a_part_of_a_batch_makes_an_upper_bound_of_the_whole(journal: Journal) -> None:
    journal.draw("a")
    backward = journal.gradient("")
    for _ in journal.replayer.read(GradientFlowed(journal.batch("a").part, backward)):
        pass
    assert journal.update() == learned(0, "a")
    assert journal.doubts == ({0}, 0)
    assert journal.batch("a").part.part is journal.batch("a").part


def test_each_optimizer_learned_from_what_came_since_its_own_update(journal: Journal) -> None:
    journal.draw("a")
    backward = journal.gradient("a")
    for _ in journal.replayer.read(GradientsCollected(journal.windows[1], backward, EMPTY)):
        pass
    assert journal.update() == learned(0, "a")
    journal.draw("b")
    journal.gradient("b")
    assert journal.update() == learned(1, "b")
    assert journal.update(of=1) == learned(2, "a")
    assert journal.doubts == (set(), 0)


def test_a_step_inside_a_backward_pass_is_the_end_of_what_flows_in_it(journal: Journal) -> None:
    journal.draw("a")
    backward = journal.gradient("a")
    assert journal.update(backward=backward) == learned(0, "a")
    for event in (
        GradientFlowed(journal.batch("a"), backward),
        GradientsCollected(journal.windows[0], backward, KEPT),
    ):
        assert list(journal.replayer.read(event)) == []
    journal.windows[:] = journal.windows[:1]
    journal.draw("b")
    journal.gradient("b")
    assert journal.update() == learned(1, "b")
    assert journal.doubts == (set(), 0)


def test_what_flows_too_late_to_be_named_is_unknown() -> None:
    journal = Journal(optimizers=1)
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    journal.draw("b")
    backward = journal.gradient("b")
    assert journal.update(backward=backward) == learned(1, "b")
    list(journal.replayer.read(GradientFlowed(journal.batch("a"), backward)))
    assert journal.doubts == (set(), 1)


def test_without_gradients_to_trace_everything_drawn_is_taken_as_learned() -> None:
    journal = Journal(traced=False)
    journal.draw("ab")
    assert journal.update() == learned(0, "ab")
    assert journal.update() == learned(1, "ab")
    journal.draw("c")
    journal.discard()
    assert journal.update() == [(2, "c", False), *learned(2, "ab")]
    assert journal.doubts == (set(), 0)


def test_what_is_pending_when_the_state_is_kept_was_seen_by_the_step_before(
    journal: Journal,
) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    journal.update(of=1)
    journal.draw("b")
    journal.gradient("b")
    assert journal.pause() == [(1, "b", False)]
    journal.draw("c")
    journal.gradient("c", KEPT)
    assert journal.update() == learned(2, "bc")
    assert journal.pause() == []


def test_what_is_lost_when_the_state_is_kept_is_not_mentioned_again() -> None:
    journal = Journal(optimizers=1)
    journal.draw("a")
    journal.discard()
    assert journal.pause() == [(0, "a", False)]
    journal.draw("b")
    journal.gradient("b")
    assert journal.update() == learned(0, "b")


def test_what_is_pending_when_an_optimizer_is_watched_no_more_was_seen() -> None:
    journal = Journal(optimizers=1)
    journal.draw("a")
    assert journal.close() == [(0, "a", False)]
    assert journal.draw("b") == []


def test_steps_are_counted_from_where_a_run_goes_on() -> None:
    journal = Journal(7, optimizers=1)
    journal.draw("a")
    journal.gradient("a")
    assert journal.update() == learned(7, "a")
    journal.draw("b")
    assert journal.pause() == [(7, "b", False)]
    assert journal.update(held=EMPTY) == learned(8, "b")


def test_records_that_nobody_knows_are_counted_each_time_they_are_given() -> None:
    journal = Journal(optimizers=1)
    strange = DrawnBatch(np.array([1]), EventSink(lambda event: None), unknown=2)
    for event in (strange, GradientFlowed(strange, 1), TrackLost()):
        list(journal.replayer.read(event))
    journal.update()
    assert journal.replayer.unknown == 3


def test_a_sink_that_is_closed_takes_no_more_notes() -> None:
    noted: list[object] = []
    sink = EventSink(noted.append)
    sink.note("before")
    sink.close()
    sink.note("after")
    assert noted == ["before"]
