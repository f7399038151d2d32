"""Bands of risk: where they begin, and how evenly they fill shards and slices."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import ScheduleError
from lineage.schedule import Division, Risk, Selection, cells
from lineage.schedule.risk import thresholds_of

SALT = bytes(range(32))
RISKS = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(RISKS, st.integers(1, 200))
def test_thresholds_ascend_and_cut_no_equal_risks_apart(risks, bands):
    values = np.array(risks)
    thresholds = thresholds_of(values, bands)
    assert list(thresholds) == sorted(set(thresholds))
    assert len(thresholds) < min(bands, len(risks))
    assert all(values.min() < each <= values.max() for each in thresholds)
    assert all(float(f"{each:.2g}") == each for each in thresholds)


@given(st.floats(1e-6, 0.9), st.integers(1, 99), st.integers(2, 60))
def test_of_two_risks_the_higher_begins_a_band_where_a_part_of_the_records_is_below(
    risk, low, bands
):
    values = np.array([risk] * low + [risk * 1.11] * (100 - low))
    found = thresholds_of(values, bands)
    assert (len(found) == 1) == (low * bands >= 100)
    assert all(risk < each <= risk * 1.11 for each in found)


@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.2, 0.4, 0.8)])
@pytest.mark.parametrize("shares", [None, (4, 2, 1, 1)])
def test_shards_get_their_shares_and_slices_like_ones_whatever_the_bands(thresholds, shares):
    random = np.random.default_rng(7)
    keys = random.integers(0, 2**64, 40_000, np.uint64)
    risks = random.beta(0.3, 2, 40_000)
    counts = np.bincount(np.searchsorted(thresholds, risks, side="right"))
    risk = Risk(column="risk", thresholds=thresholds, records=tuple(counts.tolist()))
    division = Division(4, 3, shares, risk)
    asked = Selection(np.arange(40_000), keys, keys, column={"risk": risks}.__getitem__)
    found = cells(asked, SALT, division)
    expected = np.outer(shares or (1, 1, 1, 1), (1, 1, 1)) * 40_000 / 3 / sum(shares or (4,))
    assert np.abs(found / expected - 1).max() < 0.1
    shards, slices = division.cells_of(asked, SALT)
    inside = [risk.bands(risks[shards * 3 + slices == cell]) for cell in range(12)]
    assert all(before.max() <= after.min() for before, after in pairwise(inside))


def test_one_band_and_no_risk_give_the_same_shards():
    keys = np.random.default_rng(0).integers(0, 2**64, 1_000, np.uint64)
    asked = Selection(np.arange(1_000), keys, keys, column={"r": np.zeros(1_000)}.__getitem__)
    one = Risk(column="r", thresholds=(), records=(1_000,))
    plain, equal = Division(7), Division(7, shares=(3,) * 7)
    shards = plain.shard_of(asked, SALT)
    assert np.array_equal(Division(7, risk=one).shard_of(asked, SALT), shards)
    assert np.array_equal(equal.shard_of(asked, SALT), shards)
    assert not np.array_equal(Division(7, generation=1).shard_of(asked, SALT), shards)


def test_a_risk_that_nobody_knows_is_in_the_last_band():
    risk = Risk(column="r", thresholds=(0.5,), records=(1, 1))
    assert risk.bands([0.1, np.nan, 0.5]).tolist() == [0, 1, 1]


def test_records_that_came_without_columns_are_refused():
    keys = np.arange(3, dtype=np.uint64)
    risk = Risk(column="r", thresholds=(0.5,), records=(1, 1))
    with pytest.raises(ScheduleError, match="placed by column 'r'"):
        Division(2, risk=risk).shard_of(Selection(np.arange(3), keys, keys), SALT)
