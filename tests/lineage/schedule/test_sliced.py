from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import ScheduleError
from lineage.schedule import Records, ScheduleSpec, schedule_for, slices_of
from lineage.schedule.sliced import stage_epochs, stages_for

SALT = bytes(32)
COUNT = 6_000


@pytest.fixture(scope="module")
def records():
    keys = np.random.default_rng(0).integers(0, 2**64, COUNT, dtype=np.uint64)
    return Records(
        np.arange(len(keys)), keys, keys, lambda rows: [keys[row].tobytes() for row in rows]
    )


def specification(epochs, slices):
    return ScheduleSpec(
        epochs=epochs,
        batch_size=50,
        seed=1,
        shards=1,
        shard=0,
        nominal=(COUNT // slices,) * slices,
    )


def deletion_cost(epochs):
    """The expected share of a shard's work that one deletion costs, over equal slices."""
    work = [Fraction(count * (stage + 1)) for stage, count in enumerate(epochs)]
    tails = list(accumulate(reversed(work)))
    return sum(tails) / len(work) / sum(work)


@given(st.integers(1, 200), st.integers(1, 60))
def test_sliced_work_equals_unsliced_work_exactly_and_evenly(epochs, slices):
    if 2 * epochs < slices + 1:
        with pytest.raises(ScheduleError):
            stage_epochs(epochs, slices)
        return
    chosen = stage_epochs(epochs, slices)
    assert sum(count * (stage + 1) for stage, count in enumerate(chosen)) == epochs * slices
    assert all(abs(count - Fraction(2 * epochs, slices + 1)) < 1 for count in chosen)
    assert min(chosen) >= 1


@pytest.mark.parametrize(("epochs", "slices"), [(1, 2), (4, 8), (5, 20)])
def test_both_remedies_for_too_few_epochs_work(epochs, slices):
    with pytest.raises(ScheduleError) as refusal:
        stage_epochs(epochs, slices)
    words = refusal.value.hint.split()
    assert stage_epochs(int(words[2]), slices)
    assert stage_epochs(epochs, int(words[5]))


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 9, 20])
def test_one_deletion_costs_two_thirds_and_a_third_of_a_slice(slices):
    formula = Fraction(2, 3) + Fraction(1, 3 * slices)
    assert deletion_cost(stage_epochs(slices + 1, slices)) == formula
    assert abs(deletion_cost(stage_epochs(10 * slices, slices)) - formula) < Fraction(1, 20)


@pytest.mark.parametrize("slices", [1, 2, 3, 4])
def test_visits_of_a_drawn_run_cost_what_the_formula_says(records, slices):
    schedule = schedule_for(specification(10, slices), SALT)
    visits = schedule.sizes(records)
    starts = (0, *schedule.boundaries[:-1])
    pieces = np.bincount(slices_of(records.placement, SALT, slices), minlength=slices)
    tails = [visits[start:].sum() for start in starts]
    measured = np.average(tails, weights=pieces) / visits.sum()
    assert measured == pytest.approx(float(deletion_cost(stage_epochs(10, slices))), rel=0.03)
    assert visits.sum() == pytest.approx(10 * COUNT, rel=0.03)


@pytest.mark.parametrize("slices", [1, 3, 4])
def test_each_epoch_of_a_stage_visits_every_record_of_its_slices_once(records, slices):
    pieces = slices_of(records.placement, SALT, slices)
    for epoch in schedule_for(specification(5, slices), SALT).epochs(records):
        assert np.array_equal(np.sort(epoch.order), np.flatnonzero(pieces <= epoch.stage))


def test_batches_have_about_the_batch_size_in_every_stage(records):
    schedule = schedule_for(specification(10, 3), SALT)
    sizes = np.split(schedule.sizes(records), schedule.boundaries[:-1])
    assert all(abs(stage.mean() - 50) < 2 for stage in sizes)
    assert all(stage.std() == pytest.approx(50**0.5, rel=0.2) for stage in sizes)


def test_no_two_epochs_share_an_order(records):
    epochs = schedule_for(specification(10, 3), SALT).epochs(records)
    orders = [epoch.order.tobytes() for epoch in epochs]
    assert len(set(orders)) == len(orders) == 15


def test_one_slice_of_one_shard_is_the_plain_schedule(oracle, records):
    spec = specification(2, 1)
    plain = [(int(key), int(key), b"") for key in records.keys]
    expected = [row for batch in oracle(spec, SALT).batches(plain) for row in batch]
    drawn = np.concatenate([epoch.order for epoch in schedule_for(spec, SALT).epochs(records)])
    assert drawn.tobytes() == np.array(expected, np.intp).tobytes()


def test_shards_divide_the_records_and_keep_their_slices(records):
    spec = specification(5, 3).model_dump() | {"shards": 4}
    trained = []
    for shard in range(4):
        schedule = schedule_for(ScheduleSpec(**spec | {"shard": shard}), SALT)
        (*_, last) = schedule.epochs(records)
        trained.extend(last.order.tolist())
    assert sorted(trained) == list(range(COUNT))


def test_steps_come_from_nominal_sizes_rounded_up():
    steps = [stage.steps_per_epoch for stage in stages_for(9, [64, 1, 63, 1], 64)]
    assert steps == [1, 2, 2, 3]
