import numpy as np
import pytest

from lineage.errors import ScheduleError
from lineage.schedule.mixer import LIMIT, Domain, mixed, scaled, tweak

SALT = b"a salt of the tests, 32 bytes..."
COUNT = 200_000
KEYS = {
    "hashed": np.random.default_rng(1).integers(0, 2**64, COUNT, dtype=np.uint64),
    "consecutive": np.arange(COUNT, dtype=np.uint64),
}
USES = {
    "shard": (Domain.SHARD,),
    "slice": (Domain.SLICE,),
    "step, epoch 0": (Domain.STEP, 7, 0),
    "step, epoch 1": (Domain.STEP, 7, 1),
    "step, epoch 9": (Domain.STEP, 7, 9),
    "step, other seed": (Domain.STEP, 8, 0),
    "order, epoch 0": (Domain.ORDER, 7, 0),
    "order, epoch 1": (Domain.ORDER, 7, 1),
}
PAIRS = [(a, b) for a in USES for b in USES if a < b]


def parts(keys, use, count):
    return scaled(mixed(keys, tweak(SALT, *USES[use])), count)


def deviation(observed):
    """How many standard deviations the chi-square statistic of equal cells is from its mean."""
    expected = observed.sum() / observed.size
    freedom = observed.size - 1
    return (((observed - expected) ** 2).sum() / expected - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("count", [3, 20, 1563])
def test_hashes_spread_evenly(keys, use, count):
    assert abs(deviation(np.bincount(parts(KEYS[keys], use, count), minlength=count))) < 5


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_hashes_for_different_uses_are_independent(keys, one, other):
    joint = parts(KEYS[keys], one, 16) * 16 + parts(KEYS[keys], other, 16)
    assert abs(deviation(np.bincount(joint, minlength=256))) < 5


@pytest.mark.parametrize("keys", KEYS)
def test_steps_of_one_record_do_not_correlate_over_many_epochs(keys):
    tweaks = np.array([tweak(SALT, Domain.STEP, 3, epoch) for epoch in range(40)], np.uint64)
    steps = scaled(mixed(KEYS[keys][:20_000, None], tweaks), 313)
    correlation = np.corrcoef(steps, rowvar=False)[np.triu_indices(40, 1)] * np.sqrt(20_000)
    assert np.abs(correlation).max() < 5
    assert abs(correlation.std() - 1) < 0.1


def test_records_that_meet_in_one_epoch_meet_no_more_often_in_the_next():
    pairs = KEYS["hashed"].reshape(2, -1)
    meet = [np.equal(*parts(pairs, use, 16)) for use in ("step, epoch 0", "step, epoch 1")]
    again = meet[1][meet[0]].mean()
    assert abs(again - 1 / 16) < 5 * np.sqrt(1 / 16 / meet[0].sum())


def test_every_domain_seed_epoch_and_salt_has_its_own_tweak():
    uses = [(d, s, e) for d in Domain for s in (0, 1, 256) for e in (0, 1, 256)]
    tweaks = {tweak(salt, *use) for salt in (SALT, SALT[:16]) for use in uses}
    assert len(tweaks) == 2 * len(uses)


@pytest.mark.parametrize("count", [1, 7, LIMIT])
def test_the_largest_and_smallest_hash_stay_in_range(count):
    ends = np.array([0, 2**64 - 1], np.uint64)
    assert scaled(ends, count).tolist() == [0, (2**32 - 1) * count >> 32]


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_salt_of_the_wrong_length_is_refused(length):
    with pytest.raises(ScheduleError, match=f"not {length}"):
        tweak(bytes(length), Domain.STEP)
