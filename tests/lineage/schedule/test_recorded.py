import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import ScheduleError
from lineage.schedule import RecordedSchedule, Records, Selection, recorded
from storage.errors import CorruptObjectError, RecordingError
from storage.exposures import Exposures, Log, compact, compaction, log
from storage.objects import Objects

WINDOW = 6
LARGEST = 4
LAST = 2**32 - 1


@pytest.fixture(autouse=True, scope="module")
def _small():
    """A few visits fill a window, a block, a piece, a row group and a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "WINDOW", WINDOW)
        patch.setattr(log, "BLOCK", 5)
        patch.setattr(log, "LARGEST_BATCH", LARGEST)
        patch.setattr(compaction, "PIECE", 11)
        patch.setattr(compaction, "VISITS_A_FILE", 12)
        patch.setattr(compaction, "ROW_GROUP", 3)
        yield


class Plain:
    """The oracle: what each step was given, as lists of (position, whether it was applied)."""

    def __init__(self, history, steps):
        self.steps = [[] for _ in range(steps)]
        for step, positions, applied in history:
            self.steps[step] += [(position, applied) for position in positions]

    def batches(self, present):
        return [
            [
                present.index(position)
                for position, applied in given
                if applied and position in present
            ]
            for given in self.steps
        ]

    def visits(self, asked):
        return [
            (row, step, applied)
            for row, position in enumerate(asked)
            for step, given in enumerate(self.steps)
            for each, applied in given
            if each == position
        ]

    def first_visits(self, asked):
        given = [{position for position, _ in step} for step in self.steps]
        steps = [[n for n, each in enumerate(given) if position in each] for position in asked]
        return [min(each, default=len(self.steps)) for each in steps]


@st.composite
def histories(draw):
    """Batches in order, the numbers of those after which is sealed, positions, and the length."""
    high = draw(st.sampled_from([0, 0, 0, 0, LAST - 40]))
    pool = draw(st.lists(st.integers(0, 40), min_size=1, max_size=20, unique=True))
    pool = [high + position if position % 2 else position for position in pool]
    step, history = draw(st.sampled_from([0, 0, 1, 9])), []
    for _ in range(draw(st.integers(0, 25))):
        positions = draw(st.lists(st.sampled_from(pool), max_size=draw(st.sampled_from([3, 9]))))
        history.append((step, positions, draw(st.sampled_from([True, True, False]))))
        step += draw(st.sampled_from([0, 0, 1, 1, 1, 3]))
    seals = draw(st.sets(st.integers(0, 24), max_size=4))
    last = history[-1][0] if history else -1
    return history, seals, sorted({*pool, 0, 41, LAST}), last + 1 + draw(st.sampled_from([0, 0, 3]))


def subsets(positions):
    return st.lists(st.sampled_from(positions), unique=True).map(sorted)


def recordings(objects, history, seals=()):
    """The same recording as logs, compacted with order and without."""
    writing = Log(objects)
    try:
        sealed = []
        for number, (step, positions, applied) in enumerate(history):
            writing.append(step, np.array(positions, np.int64), applied)
            if number in seals:
                sealed.append(writing.seal())
        logs = [file for file in [*sealed, writing.seal()] if file is not None]
    finally:
        writing.close()
    kept = [compact(objects, logs, ordered=ordered) for ordered in (True, False)]
    return [Exposures(objects, files) for files in (logs, *kept)]


def selection(positions):
    keys = np.zeros(len(positions), np.uint64)
    return Selection(np.array(positions, np.int64), keys, keys)


def records(positions):
    keys = np.zeros(len(positions), np.uint64)
    return Records(np.array(positions, np.int64), keys, keys, list)


def steps_of(epochs):
    return [(step, epoch.rows(step).tolist()) for epoch in epochs for step in epoch.steps]


def triples(visits):
    arrays = (visits.rows, visits.steps, visits.applied)
    return list(zip(*(array.tolist() for array in arrays), strict=True))


@settings(max_examples=40)
@given(histories(), st.data())
def test_forward_is_what_plain_lists_say_of_the_records_that_are_left(
    tmp_path_factory, drawn, data
):
    history, seals, positions, steps = drawn
    present = data.draw(subsets(positions) | st.just(positions))
    start = data.draw(st.integers(0, steps))
    alone = data.draw(st.sets(st.integers(0, steps - 1), max_size=3)) if steps else ()
    expected = list(enumerate(Plain(history, steps).batches(present)))
    *ordered, unordered = recordings(Objects(tmp_path_factory.mktemp("store")), history, seals)
    for exposures in ordered:
        schedule = RecordedSchedule(exposures, steps)
        assert schedule.boundaries == (steps,)
        assert steps_of(schedule.epochs(records(present))) == expected
        assert steps_of(schedule.epochs(records(present), start)) == expected[start:]
        for step in alone:
            assert (step, schedule.rows(records(present), step).tolist()) == expected[step]
    if any(positions for _, positions, _ in history):
        schedule = RecordedSchedule(unordered, steps)
        with pytest.raises(RecordingError, match="was not kept"):
            list(schedule.epochs(records(present)))
        with pytest.raises(RecordingError, match="was not kept"):
            schedule.rows(records(present), steps - 1)


@settings(max_examples=40)
@given(histories(), st.data())
def test_the_inverse_is_what_plain_lists_say_of_any_records_present_or_not(
    tmp_path_factory, drawn, data
):
    history, seals, positions, steps = drawn
    plain = Plain(history, steps)
    asked = data.draw(subsets(positions) | st.just(positions))
    start = data.draw(st.integers(0, steps))
    stop = data.draw(st.integers(start, steps))
    counts = [len(batch) for batch in plain.batches(asked)]
    for exposures in recordings(Objects(tmp_path_factory.mktemp("store")), history, seals):
        schedule = RecordedSchedule(exposures, steps)
        assert triples(schedule.visits(selection(asked))) == plain.visits(asked)
        assert schedule.first_visits(selection(asked)).tolist() == plain.first_visits(asked)
        assert schedule.sizes(selection(asked)).tolist() == counts
        assert schedule.sizes(selection(asked), start).tolist() == counts[start:]
        assert schedule.sizes(selection(asked), start, stop).tolist() == counts[start:stop]


@settings(max_examples=15)
@given(histories(), st.data())
def test_leaving_records_out_changes_no_step_and_no_order_of_the_others(
    tmp_path_factory, drawn, data
):
    history, seals, positions, steps = drawn
    present = data.draw(subsets(positions))
    exposures, *_ = recordings(Objects(tmp_path_factory.mktemp("store")), history, seals)
    schedule = RecordedSchedule(exposures, steps)
    whole = steps_of(schedule.epochs(records(positions)))
    left = steps_of(schedule.epochs(records(present)))
    named = [(step, [present[row] for row in rows]) for step, rows in left]
    assert named == [
        (step, [positions[row] for row in rows if positions[row] in present])
        for step, rows in whole
    ]


def test_windows_are_whole_steps_and_no_longer_than_what_is_read_together(tmp_path):
    sizes = {0: 3, 1: 3, 2: 1, 3: 5, 4: 4, 5: 3, 6: 9, 7: 1, 15: 2}
    history = [(step, range(size), True) for step, size in sizes.items()]
    exposures, *_ = recordings(Objects(tmp_path), history)
    epochs = list(RecordedSchedule(exposures, 18).epochs(records(range(20))))
    assert [step for epoch in epochs for step in epoch.steps] == list(range(18))
    assert [len(epoch.order) for epoch in epochs] == [6, 6, 4, 3, 9, 3]
    assert [epoch.steps.start for epoch in epochs] == [0, 2, 4, 5, 6, 7]
    assert {epoch.stage for epoch in epochs} == {0}


def test_a_step_larger_than_a_window_and_than_the_largest_batch_comes_whole(tmp_path):
    order = [7, 3, 11, *range(2 * WINDOW), 3]
    history = [(0, [1], True), (2, order, True), (3, [2], True)]
    for exposures in recordings(Objects(tmp_path), history)[:2]:
        schedule = RecordedSchedule(exposures, 4)
        expected = [(0, [1]), (1, []), (2, order), (3, [2])]
        assert steps_of(schedule.epochs(records(range(20)))) == expected
        assert schedule.sizes(selection(range(20))).tolist() == [1, 0, len(order), 1]


def test_a_visit_no_update_followed_is_told_but_not_trained_on_again(tmp_path):
    history = [(0, [4, 5], True), (1, [4], False), (1, [5], True), (2, [6], False)]
    for exposures in recordings(Objects(tmp_path), history):
        schedule = RecordedSchedule(exposures, 3)
        asked = selection([4, 5, 6])
        assert triples(schedule.visits(asked)) == [
            (0, 0, True), (0, 1, False), (1, 0, True), (1, 1, True), (2, 2, False),
        ]  # fmt: skip
        assert schedule.first_visits(asked).tolist() == [0, 0, 2]
        assert schedule.sizes(asked).tolist() == [2, 1, 0]


def test_nothing_recorded_is_a_run_of_empty_steps(tmp_path):
    schedule = RecordedSchedule(Exposures(Objects(tmp_path), ()), 3)
    assert steps_of(schedule.epochs(records([0, 1]))) == [(0, []), (1, []), (2, [])]
    assert schedule.sizes(selection([0, 1])).tolist() == [0, 0, 0]
    assert schedule.first_visits(selection([0, 1])).tolist() == [3, 3]
    assert triples(schedule.visits(selection([0, 1]))) == []


@pytest.mark.parametrize(
    ("ask", "start", "stop"),
    [
        (lambda schedule: schedule.sizes(selection([1]), -1, 3), -1, 3),
        (lambda schedule: schedule.sizes(selection([1]), 2, 1), 2, 1),
        (lambda schedule: schedule.sizes(selection([1]), 0, 5), 0, 5),
        (lambda schedule: schedule.rows(records([1]), 4), 4, 5),
        (lambda schedule: schedule.rows(records([1]), -1), -1, 0),
        (lambda schedule: schedule.epochs(records([1]), 5), 5, 4),
        (lambda schedule: schedule.epochs(records([1]), -1), -1, 4),
    ],
)
def test_steps_outside_the_run_are_refused_at_once(tmp_path, ask, start, stop):
    schedule = RecordedSchedule(Exposures(Objects(tmp_path), ()), 4)
    with pytest.raises(ScheduleError, match=f"steps {start} to {stop} are not within") as caught:
        ask(schedule)
    assert caught.value.hint == "its steps are 0 to 4"


@pytest.mark.parametrize(
    "ask",
    [
        lambda schedule: list(schedule.epochs(records([1]))),
        lambda schedule: schedule.rows(records([1]), 0),
        lambda schedule: schedule.sizes(selection([1])),
        lambda schedule: schedule.visits(selection([1])),
        lambda schedule: schedule.first_visits(selection([1])),
    ],
)
def test_no_question_is_answered_from_damaged_files(tmp_path, ask):
    objects = Objects(tmp_path)
    opened = recordings(objects, [(0, [1, 2], True), (1, [1], True)])
    for digest in objects:
        path = objects.open(digest)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    for exposures in opened:
        with pytest.raises(CorruptObjectError, match="is damaged"):
            ask(RecordedSchedule(exposures, 2))
