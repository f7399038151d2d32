from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import ScheduleError
from lineage.schedule import Records, Risk, ScheduleSpec, Selection, schedule_for
from lineage.schedule.mixer import Domain, tweak

SALT = bytes(range(32))
WORDS = st.integers(0, 2**64 - 1)


@st.composite
def specifications(draw):
    nominal = tuple(draw(st.lists(st.integers(1, 20), min_size=1, max_size=4)))
    shards = draw(st.integers(1, 3))
    spread = st.integers(len(nominal) // 2 + 1, 6)
    given = st.tuples(*[st.integers(1, 3)] * len(nominal))
    return ScheduleSpec(
        epochs=draw(spread | given),
        batch_size=draw(st.integers(1, 12)),
        seed=draw(st.integers(0, 2**53 - 1)),
        shards=shards,
        shard=draw(st.integers(0, shards - 1)),
        nominal=nominal,
        shares=draw(st.none() | st.tuples(*[st.integers(1, 5)] * shards)),
        risk=draw(st.none() | risks()),
        generation=draw(st.sampled_from([0, 0, 1, 7])),
    )


@st.composite
def risks(draw):
    """Bands of risk in quarters, such as `people` have, so that many are at a threshold."""
    thresholds = sorted(draw(st.sets(st.sampled_from([0.25, 0.5, 0.75, 1.0]))))
    counts = draw(st.tuples(*[st.integers(1, 30)] * (len(thresholds) + 1)))
    return Risk(column="risk", thresholds=tuple(thresholds), records=counts)


@st.composite
def people(draw):
    """(key, placement, digest, risk) records; few keys, some are equal, and distinct digests."""
    keys = draw(st.lists(WORDS, min_size=1, max_size=8))
    risk = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.6, 1.0])
    drawn = draw(st.lists(st.tuples(st.sampled_from(keys), WORDS, risk), max_size=25))
    digests = draw(st.permutations(range(len(drawn))))
    return [(k, p, d.to_bytes(32), r) for (k, p, r), d in zip(drawn, digests, strict=True)]


def records(people):
    keys = np.array([person[0] for person in people], np.uint64)
    placement = np.array([person[1] for person in people], np.uint64)
    risk = np.array([(*person, 0.0)[3] for person in people])
    keys.flags.writeable = placement.flags.writeable = False
    positions = np.arange(len(people))
    return Records(
        positions,
        keys,
        placement,
        lambda rows: [people[row][2] for row in rows],
        column={"risk": risk}.__getitem__,
    )


def batches(schedule, people):
    drawn = schedule.epochs(records(people))
    return [epoch.rows(step).tolist() for epoch in drawn for step in epoch.steps]


@given(specifications(), people())
def test_forward_is_what_plain_integers_say(oracle, spec, people):
    assert batches(schedule_for(spec, SALT), people) == oracle(spec, SALT).batches(people)


@given(specifications(), people())
def test_inverse_is_what_plain_integers_say(oracle, spec, people):
    visits = schedule_for(spec, SALT).visits(records(people))
    expected = [
        (row, step)
        for row, (key, place, _, risk) in enumerate(people)
        for _, step in oracle(spec, SALT).visits(key, place, risk)
    ]
    assert list(zip(visits.rows.tolist(), visits.steps.tolist(), strict=True)) == expected


@given(specifications(), people())
def test_forward_and_inverse_agree(spec, people):
    schedule = schedule_for(spec, SALT)
    visits = schedule.visits(records(people))
    forward = {(row, s) for s, batch in enumerate(batches(schedule, people)) for row in batch}
    assert forward == set(zip(visits.rows.tolist(), visits.steps.tolist(), strict=True))


@given(specifications(), people())
def test_the_first_visit_is_the_earliest_and_never_is_the_end_of_the_run(oracle, spec, people):
    schedule, plain = schedule_for(spec, SALT), oracle(spec, SALT)
    visits = (plain.visits(key, place, risk) for key, place, _, risk in people)
    first = [min([step for _, step in each], default=plain.steps) for each in visits]
    assert schedule.first_visits(records(people)).tolist() == first


@given(specifications(), people(), st.data())
def test_removing_any_records_changes_no_step_and_no_order_of_the_others(spec, people, data):
    kept = data.draw(st.lists(st.booleans(), min_size=len(people), max_size=len(people)))
    left = [person for person, keep in zip(people, kept, strict=True) if keep]
    schedule = schedule_for(spec, SALT)
    before = [[people[row] for row in batch] for batch in batches(schedule, people)]
    after = [[left[row] for row in batch] for batch in batches(schedule, left)]
    assert after == [[person for person in batch if person in left] for batch in before]


@given(specifications(), people(), st.randoms())
def test_permuting_the_rows_changes_nothing(spec, people, random):
    shuffled = random.sample(people, len(people))
    schedule = schedule_for(spec, SALT)
    before = [[people[row] for row in batch] for batch in batches(schedule, people)]
    after = [[shuffled[row] for row in batch] for batch in batches(schedule, shuffled)]
    assert after == before


@given(specifications(), people())
def test_one_step_drawn_alone_equals_the_same_step_of_its_epoch(spec, people):
    schedule = schedule_for(spec, SALT)
    alone = [schedule.rows(records(people), step).tolist() for step in range(schedule.steps)]
    assert alone == batches(schedule, people)


@given(specifications(), people(), st.data())
def test_sizes_count_the_records_of_each_step(spec, people, data):
    schedule = schedule_for(spec, SALT)
    start = data.draw(st.integers(0, schedule.steps))
    stop = data.draw(st.integers(start, schedule.steps))
    counts = [len(batch) for batch in batches(schedule, people)]
    assert schedule.sizes(records(people)).tolist() == counts
    assert schedule.sizes(records(people), start, stop).tolist() == counts[start:stop]


@given(specifications(), people(), st.data())
def test_a_resumed_run_draws_the_epochs_from_the_one_that_holds_its_step(spec, people, data):
    schedule = schedule_for(spec, SALT)
    start = data.draw(st.integers(0, schedule.steps))
    whole = [e for e in schedule.epochs(records(people)) if e.steps.stop > start]
    resumed = list(schedule.epochs(records(people), start))
    assert [e.first for e in resumed] == [e.first for e in whole]
    assert [e.order.tobytes() for e in resumed] == [e.order.tobytes() for e in whole]
    assert all(start in epoch.steps for epoch in resumed[:1])


@given(specifications(), people())
def test_lengths_are_nominal_whatever_records_are_present(oracle, spec, people):
    schedule = schedule_for(spec, SALT)
    epochs = list(schedule.epochs(records(people)))
    described = [(epoch.stage, epoch.first, len(epoch.steps)) for epoch in epochs]
    assert described == oracle(spec, SALT).epochs
    ends = [epoch.steps.stop for epoch, after in pairwise(epochs) if epoch.stage < after.stage]
    assert schedule.boundaries == (*ends, schedule.steps)


def unmixed(z):
    """The inverse of the finaliser, to construct collisions."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        z = z ^ z >> shift ^ z >> 2 * shift
        z = z * pow(factor, -1, 2**64) % 2**64
    return z


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=9, unique=True), st.randoms())
def test_different_keys_that_collide_are_ordered_by_digest(low_bits, random):
    spec = ScheduleSpec(epochs=1, batch_size=99, seed=5, shards=1, shard=0, nominal=(50,))
    mask = tweak(SALT, Domain.ORDER, 5, 0)
    colliding = [unmixed(7 << 32 | low) ^ mask for low in low_bits]
    keys = colliding + [unmixed(high << 32) ^ mask for high in (3, 9)]
    digests = random.sample([bytes([n]) * 32 for n in range(len(keys))], len(keys))
    asked = []

    def tiebreak(rows):
        asked.append(rows.tolist())
        return [digests[row] for row in rows]

    array = np.array(keys, np.uint64)
    (epoch,) = schedule_for(spec, SALT).epochs(
        Records(np.arange(len(array)), array, array, tiebreak)
    )
    tied = sorted(range(len(colliding)), key=digests.__getitem__)
    assert epoch.order.tolist() == [len(keys) - 2, *tied, len(keys) - 1]
    assert [sorted(rows) for rows in asked] == [list(range(len(colliding)))]


def test_two_records_with_one_digest_are_refused():
    spec = ScheduleSpec(epochs=1, batch_size=4, seed=0, shards=1, shard=0, nominal=(4,))
    twice = records([(11, 11, b"same"), (11, 11, b"same")])
    with pytest.raises(ScheduleError, match="same full digest"):
        list(schedule_for(spec, SALT).epochs(twice))


def test_a_step_is_a_view_of_its_epoch():
    spec = ScheduleSpec(epochs=1, batch_size=4, seed=0, shards=1, shard=0, nominal=(40,))
    (epoch,) = schedule_for(spec, SALT).epochs(records([(n, n, b"") for n in range(40)]))
    assert all(epoch.rows(step).base is epoch.order for step in epoch.steps)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (2, 1), (0, 21), (21, 21)])
def test_steps_outside_the_run_are_refused(start, stop):
    spec = ScheduleSpec(epochs=2, batch_size=4, seed=0, shards=1, shard=0, nominal=(40,))
    with pytest.raises(ScheduleError, match=f"steps {start} to {stop}"):
        schedule_for(spec, SALT).sizes(records([]), start, stop)


def test_a_start_past_the_end_is_refused_before_anything_is_drawn():
    spec = ScheduleSpec(epochs=2, batch_size=4, seed=0, shards=1, shard=0, nominal=(40,))
    with pytest.raises(ScheduleError, match="not within this run"):
        schedule_for(spec, SALT).epochs(records([]), 21)


def test_keys_and_placements_of_different_lengths_are_refused():
    schedule = schedule_for(
        ScheduleSpec(epochs=1, batch_size=4, seed=0, shards=1, shard=0, nominal=(4,)), SALT
    )
    with pytest.raises(ScheduleError, match="3 keys came with 2 placements"):
        schedule.visits(Selection(np.arange(3), np.zeros(3, np.uint64), np.zeros(2, np.uint64)))


def test_the_salt_is_not_shown():
    spec = ScheduleSpec(epochs=1, batch_size=4, seed=0, shards=1, shard=0, nominal=(4,))
    schedule = schedule_for(spec, b"sixteen secret bytes")
    assert "secret" not in repr(schedule) + spec.model_dump_json()
