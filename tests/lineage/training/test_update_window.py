"""Which update learned from which batch, event by event."""

import pytest

from lineage.training.update_window import Gradients
from tests.lineage.training.journal import Journal, learned

EMPTY, KEPT, CHANGED, FOREIGN = Gradients
Entry = tuple[int, str, bool]


@pytest.fixture
def journal() -> Journal:
    return Journal()


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


def test_what_parameters_kept_is_an_upper_bound(
    journal: Journal,
) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    assert journal.update(held=KEPT) == learned(1, "a")
    journal.draw("b")
    journal.gradient("b", KEPT)
    assert journal.update() == learned(2, "ab")
    assert journal.doubts == ({1, 2}, 0)


def test_what_was_kept_is_an_upper_bound_where_it_was_changed(journal: Journal) -> None:
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


def test_a_batch_that_was_fetched_ahead_and_waits_when_a_state_is_kept_was_visited(
    journal: Journal,
) -> None:
    journal.hand("a")
    journal.draw("a")
    journal.hand("b", before="a")
    journal.gradient("a")
    journal.update()
    assert journal.pause() == [(0, "b", False)]


def test_a_batch_that_waits_when_its_loader_begins_anew_was_drawn(journal: Journal) -> None:
    journal.hand("a")
    journal.hand("b")
    journal.draw("b")
    journal.gradient("b")
    assert journal.update() == learned(0, "ba")
    assert journal.doubts == ({0}, 0)


def test_nothing_is_taken_back_where_a_batch_was_fetched_ahead(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.hand("b", before="a")
    journal.discard()
    assert journal.update() == learned(0, "a")


def test_what_an_iteration_gave_that_nobody_trains_on_was_drawn_by_the_next_step(
    journal: Journal,
) -> None:
    journal.fetch("xy", 0)
    journal.fetch("ab", 1)
    journal.draw("a")
    journal.gradient("a")
    assert journal.update() == learned(0, "axy")
    assert journal.doubts == ({0}, 0)


def test_what_a_trainer_fetched_and_dropped_was_not_drawn(journal: Journal) -> None:
    journal.fetch("ab", 0)
    journal.draw("a")
    journal.fetch("c", 0)
    journal.gradient("a")
    assert journal.update() == learned(0, "a")
    assert [*journal.pause(), *journal.close()] == []


def test_what_nobody_trains_on_is_drawn_when_a_state_is_kept(journal: Journal) -> None:
    journal.draw("a")
    journal.gradient("a")
    journal.update()
    journal.update(1)
    journal.fetch("x", 0)
    assert journal.pause() == [(1, "x", False)]
