import random
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from lineage.errors import ScheduleError
from lineage.schedule import Records
from lineage.training.order import DrawnSchedule
from lineage.training.seeds import drawing

ROWS = 20
BATCH = 6
EPOCHS = 5
LENGTH = 4
SEEDING = partial(drawing, 7, uses_torch=False)


class Shuffled:
    """Batches of a shuffle by the global generators of NumPy and Python; counts its epochs."""

    def __init__(self):
        self.drawn = 0

    def __len__(self):
        return LENGTH

    def __iter__(self):
        self.drawn += 1
        order = np.random.permutation(ROWS).tolist()
        random.shuffle(order)
        return iter([order[start : start + BATCH] for start in range(0, ROWS, BATCH)])


class Listed(list):
    """The batches of every epoch, as they were listed; says another length where it has one."""

    said = None

    def __len__(self):
        return super().__len__() if self.said is None else self.said


def records(count=ROWS):
    keys = np.zeros(count, np.uint64)
    return Records(np.arange(count), keys, keys, list)


def made(order=None, epochs=EPOCHS, seeding=SEEDING):
    return DrawnSchedule(order if order is not None else Shuffled(), epochs, seeding)


def batches(epochs):
    return [(step, epoch.rows(step).tolist()) for epoch in epochs for step in epoch.steps]


def test_each_epoch_is_another_order_of_all_rows():
    schedule = made()
    assert (schedule.steps, schedule.boundaries) == (EPOCHS * LENGTH, (EPOCHS * LENGTH,))
    epochs = list(schedule.epochs(records()))
    assert [(epoch.stage, epoch.steps) for epoch in epochs] == [
        (0, range(first, first + LENGTH)) for first in range(0, schedule.steps, LENGTH)
    ]
    assert all(sorted(epoch.order) == list(range(ROWS)) for epoch in epochs)
    assert len({epoch.order.tobytes() for epoch in epochs}) == EPOCHS
    assert [np.diff(epoch.offsets).tolist() for epoch in epochs] == [[6, 6, 6, 2]] * EPOCHS


def test_one_seed_draws_the_same_epochs_whatever_was_drawn_before_and_another_draws_others():
    whole = batches(made().epochs(records()))
    np.random.default_rng().random()
    np.random.seed(5)
    random.seed(5)
    schedule = made()
    list(schedule.epochs(records(), 3 * LENGTH))
    np.random.random(13)
    assert batches(schedule.epochs(records())) == whole
    other = made(seeding=partial(drawing, 8, uses_torch=False))
    assert batches(other.epochs(records())) != whole


@pytest.mark.parametrize("start", range(0, EPOCHS * LENGTH + 1, 3))
def test_a_run_that_goes_on_draws_the_whole_epoch_that_holds_its_step_and_those_after(start):
    order = Shuffled()
    epochs = list(made(order).epochs(records(), start))
    assert batches(epochs) == batches(made().epochs(records()))[start // LENGTH * LENGTH :]
    assert all(start in epoch.steps for epoch in epochs[:1])
    assert order.drawn == EPOCHS - start // LENGTH


def test_drawing_moves_no_generator_of_the_program_and_none_is_drawn_ahead():
    order = Shuffled()
    epochs = made(order).epochs(records())
    assert order.drawn == 0
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    next(epochs)
    assert order.drawn == 1
    assert (random.random(), np.random.random()) == expected


def test_an_order_is_drawn_inside_the_block_that_seeds_its_epoch():
    inside = []

    @contextmanager
    def seeding(epoch):
        inside.append(epoch)
        yield
        inside.append(None)

    class Watched(Listed):
        def __iter__(self):
            for batch in super().__iter__():
                assert inside[-1] is not None
                yield batch

    schedule = made(Watched([[0], [1]]), 3, seeding)
    assert batches(schedule.epochs(records(2))) == [(n, [n % 2]) for n in range(6)]
    assert inside == [0, None, 1, None, 2, None]


def test_rows_may_repeat_be_missing_and_batches_be_empty_or_arrays():
    order = Listed([[3, 3], [], np.array([0, 3], np.int32)])
    assert batches(made(order, 1).epochs(records(4))) == [(0, [3, 3]), (1, []), (2, [0, 3])]
    nothing = made(Listed([[], []]), 1)
    assert batches(nothing.epochs(records(0))) == [(0, []), (1, [])]


def test_an_order_without_batches_is_refused_before_anything_is_drawn():
    with pytest.raises(ScheduleError, match="the order has no batches") as caught:
        made(Listed())
    assert caught.value.hint == "give the sampler rows, or a smaller batch"


@pytest.mark.parametrize("said", [1, 3])
def test_an_epoch_of_another_length_than_was_said_is_refused(said):
    order = Listed([[0], [1]])
    order.said = said
    with pytest.raises(ScheduleError, match=f"epoch 0 has 2 batches, and its sampler said {said}"):
        list(made(order).epochs(records()))


@pytest.mark.parametrize("row", [-1, ROWS])
def test_a_row_that_is_not_there_is_refused_by_batch_and_epoch(row):
    order = Listed([[0], [], [row, 1, 2], [row]])
    with pytest.raises(
        ScheduleError, match=f"batch 2 of epoch 3 has row {row}, and there are only {ROWS}"
    ) as caught:
        list(made(order).epochs(records(), 3 * LENGTH))
    assert caught.value.hint == "draw from range(len(handle))"


@pytest.mark.parametrize("start", [-1, EPOCHS * LENGTH + 1])
def test_a_start_outside_the_run_is_refused(start):
    with pytest.raises(ScheduleError, match=f"step {start} is not within this run"):
        made().epochs(records(), start)
