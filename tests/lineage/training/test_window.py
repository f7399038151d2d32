"""Which update learned from which batch, event by event."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import RunError
from lineage.schedule import Records
from lineage.training.locate import Locator
from lineage.training.notes import Arrived, Reader, Updated
from lineage.training.observed import Observed, Watch
from lineage.training.team import Alone
from lineage.training.window import Drawn, Window

LETTERS = "abcdefgh"


class Diary:
    """A loop that is watched, and what is written down of it: step, batch, and if it was learned.

    Its records are letters, each a batch of its own; nothing reaches a store.
    """

    def __init__(self, step: int = 0, optimizers: int = 2) -> None:
        self.entries: list[tuple[int, str, bool]] = []
        positions = np.arange(len(LETTERS))
        keys = positions.astype(np.uint64)
        records = Records(positions, keys, keys, lambda rows: [])
        version: Any = SimpleNamespace(present=SimpleNamespace(records=records), salt=bytes(16))
        told = dict.fromkeys(("given", "publish", "unknown"), lambda *about: None)
        recorder: Any = SimpleNamespace(run_id="run-0", **told)
        locator = Locator(version)
        self._reader = Reader(locator, step)
        log: Any = SimpleNamespace(note=self._note, check=lambda: None, seal=lambda: None)
        chain: Any = SimpleNamespace(link=lambda: "")
        about = (log, chain, {}, Watch(), Alone(), step, {})
        self.run = Observed(version, locator, recorder, *about)
        self.windows = [self.run.window() for _ in range(optimizers)]

    def _note(self, note: Any) -> None:
        for step, records, applied in self._reader.read(note):
            self.entries.append((step, LETTERS[records[0]], applied))

    def live(self, *events: str) -> list[tuple[int, str, bool]]:
        """Live through events (a letter is a batch that is drawn); what was written down then.

        ``update`` is a step of the first optimizer, whose gradients arrive; ``second`` of another.
        """
        before = len(self.entries)
        for event in events:
            match event:
                case "gradient" | "afresh":
                    self.run.gradient(Arrived(self.windows[0], afresh=event == "afresh"))
                case "update" | "second":
                    self.run.update(Updated(self.windows[event == "second"]))
                case "discard" | "checkpoint":
                    getattr(self.run, event)()
                case letter:
                    self.run.draw(np.array([LETTERS.index(letter)]))
        return self.entries[before:]


@pytest.fixture
def diary() -> Diary:
    return Diary()


def test_an_update_learned_from_the_batch_that_was_drawn_before_it(diary: Diary) -> None:
    assert diary.live("a", "gradient", "update") == [(0, "a", True)]
    assert diary.live("b", "gradient", "update") == [(1, "b", True)]
    assert diary.run.step == 2


def test_an_update_learned_from_all_batches_whose_gradients_were_collected(diary: Diary) -> None:
    assert diary.live("a", "gradient", "b", "gradient", "update") == [
        (0, "a", True),
        (0, "b", True),
    ]


def test_a_batch_whose_gradient_was_thrown_away_was_visited_at_the_step_that_came_next(
    diary: Diary,
) -> None:
    assert diary.live("a", "gradient", "b", "afresh", "update") == [
        (0, "a", False),
        (0, "b", True),
    ]


def test_a_gradient_computed_again_without_another_batch_is_of_the_same_ones(diary: Diary) -> None:
    assert diary.live("a", "gradient", "afresh", "update") == [(0, "a", True)]
    assert diary.live("b", "gradient", "c", "gradient", "afresh", "gradient", "update") == [
        (1, "b", True),
        (1, "c", True),
    ]


def test_a_batch_that_was_passed_over_counts_as_learned_unless_it_is_discarded(
    diary: Diary,
) -> None:
    assert diary.live("a", "b", "gradient", "update") == [(0, "a", True), (0, "b", True)]
    assert diary.live("c", "discard", "d", "gradient", "update") == [
        (1, "c", False),
        (1, "d", True),
    ]


def test_only_the_batch_drawn_last_is_discarded_and_only_before_its_gradient(diary: Diary) -> None:
    diary.live("discard")
    assert diary.live("a", "gradient", "discard", "update") == [(0, "a", True)]
    assert diary.live("b", "c", "discard", "gradient", "update") == [
        (1, "c", False),
        (1, "b", True),
    ]


def test_an_update_without_a_new_batch_learned_from_the_same_ones_again(diary: Diary) -> None:
    diary.live("a", "gradient", "b", "gradient", "update")
    both = [(1, "a", True), (1, "b", True)]
    assert diary.live("update") == both
    assert diary.live("gradient", "update") == [(2, *rest) for _, *rest in both]
    assert diary.live("c", "gradient", "update") == [(3, "c", True)]


def test_a_gradient_of_the_same_batch_may_be_kept_for_the_next_one(diary: Diary) -> None:
    diary.live("a", "gradient", "update", "gradient")
    assert diary.live("b", "gradient", "update") == [(1, "a", True), (1, "b", True)]
    diary.live("gradient")
    assert diary.live("c", "afresh", "update") == [(2, "c", True)]


def test_each_optimizer_learned_from_what_came_since_its_own_update(diary: Diary) -> None:
    assert diary.live("a", "gradient", "update", "second") == [(0, "a", True), (1, "a", True)]
    assert diary.live("b", "gradient", "update", "c", "gradient", "update", "second") == [
        *((2, "b", True), (3, "c", True)),
        *((4, "b", True), (4, "c", True)),
    ]


def test_what_one_optimizer_throws_away_another_may_learn_from(diary: Diary) -> None:
    assert diary.live("a", "gradient", "b", "afresh", "update", "second") == [
        *((0, "a", False), (0, "b", True)),
        *((1, "a", True), (1, "b", True)),
    ]


def test_without_any_gradient_everything_drawn_is_taken_as_learned(diary: Diary) -> None:
    assert diary.live("a", "b", "update") == [(0, "a", True), (0, "b", True)]
    assert diary.live("c", "update", "update") == [(1, "c", True), (2, "c", True)]


def test_an_update_before_any_batch_is_refused(diary: Diary) -> None:
    with pytest.raises(RunError, match="before any watched loader gave it a batch"):
        diary.live("gradient", "update")


def test_what_is_pending_when_the_state_is_kept_was_seen_by_the_step_before(diary: Diary) -> None:
    diary.live("a", "gradient", "update", "second")
    assert diary.live("b", "gradient", "checkpoint") == [(1, "b", False)]
    assert diary.live("c", "gradient", "update") == [(2, "b", True), (2, "c", True)]
    assert diary.live("checkpoint") == []


def test_what_is_lost_when_the_state_is_kept_is_not_mentioned_again() -> None:
    diary = Diary(optimizers=1)
    diary.live("a", "gradient", "update")
    lost = diary.live("b", "discard", "c", "gradient", "d", "afresh", "checkpoint")
    assert lost == [(0, "b", False), (0, "c", False), (0, "d", False)]
    assert diary.live("update") == [(1, "d", True)]


def test_steps_are_counted_from_where_a_run_goes_on() -> None:
    assert Diary(7).live("a", "gradient", "update", "b", "checkpoint", "update") == [
        (7, "a", True),
        (7, "b", False),
        (8, "b", True),
    ]


EVENTS = st.lists(st.sampled_from(["draw", "gradient", "afresh", "discard"]), max_size=30)


def is_lost(events: list[str], place: int) -> bool:
    """Whether the batch drawn at a place is lost before the update that ends the events."""
    later = list(enumerate(events))[place + 1 :]
    gradients = [at for at, event in later if event in ("gradient", "afresh")]
    first = gradients[0] if gradients else len(events)
    draws = [at for at, event in later if event == "draw"]
    unused_until = min([first, *draws])
    if any(event == "discard" and at < unused_until for at, event in later):
        return True
    for before, at in pairwise(gradients):
        if events[at] == "afresh" and "draw" in events[before:at]:
            return True
    return False


@given(st.lists(EVENTS, min_size=1, max_size=3))
def test_every_batch_is_learned_by_the_next_update_or_lost_before_it(
    rounds: list[list[str]],
) -> None:
    window = Window()
    for events in rounds:
        batches = {}
        for place, event in enumerate(events):
            if event == "draw":
                batches[place] = Drawn(np.array([place]))
                window.draw(batches[place])
            elif event == "discard":
                window.discard()
            else:
                window.gradient(afresh=event == "afresh")
        lost, learned = window.update()
        assert lost == [each for place, each in batches.items() if is_lost(events, place)]
        kept = [each for place, each in batches.items() if not is_lost(events, place)]
        again = learned[: len(learned) - len(kept)]
        assert [*again, *kept] == [*learned]
        # Before any batch is drawn, a gradient can be of those of the update before.
        if kept and events[0] == "draw":
            assert not again
