"""What is in doubt of an update, event by event."""

import numpy as np
import pytest

from lineage.training.events import (
    GradientFlowed,
    GradientsCollected,
    TrackLost,
)
from lineage.training.update_window import DrawnBatch, EventSink, Gradients
from tests.lineage.training.journal import Journal, learned

EMPTY, KEPT, CHANGED, FOREIGN = Gradients
Entry = tuple[int, str, bool]


@pytest.fixture
def journal() -> Journal:
    return Journal()


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
    whole = DrawnBatch(np.array([1, 2]), EventSink(lambda event: None))
    for _ in journal.replayer.read(GradientFlowed(whole.part, backward)):
        pass
    assert journal.update() == [(0, "\1\2", True), (0, "a", True)]
    assert journal.doubts == ({0}, 0)
    assert whole.part.part is whole.part
    assert journal.batch("a").part is journal.batch("a")


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
