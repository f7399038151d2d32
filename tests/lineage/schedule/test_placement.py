import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import PlacementError
from lineage.schedule import Division, Selection, check, nominal_cells, shards_of, slices_of
from lineage.schedule import cells as cells_of
from lineage.schedule.placement import propose, round2

SALT = b"placement salt, 16+"


def subjects(count, records_each):
    places = np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64)
    return np.repeat(places, records_each)


def selected(placement):
    return Selection(np.arange(len(placement)), placement, placement)


def cells(placement, salt, shards, slices):
    return cells_of(selected(placement), salt, Division(shards, slices))


def fresh(placement, shards, slices):
    return nominal_cells(cells(placement, SALT, shards, slices))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(1, 6), st.integers(1, 5))
def test_cells_and_nesting_are_what_plain_integers_say(oracle, places, shards, slices):
    placement = np.array(places, np.uint64)
    shard = [oracle.hash(SALT, "shard", place) >> 32 for place in places]
    piece = [oracle.hash(SALT, "slice", place) >> 32 for place in places]
    expected = [(s * shards >> 32, p * slices >> 32) for s, p in zip(shard, piece, strict=True)]
    mine = (shards_of(placement, SALT, shards), slices_of(placement, SALT, slices))
    assert list(zip(*(part.tolist() for part in mine), strict=True)) == expected
    counts = cells(placement, SALT, shards, slices)
    assert [
        [expected.count((s, p)) for p in range(slices)] for s in range(shards)
    ] == counts.tolist()


def test_all_records_of_a_subject_fall_into_one_cell():
    placement = subjects(42, 140)
    cell = shards_of(placement, SALT, 5) * 3 + slices_of(placement, SALT, 3)
    assert len(set(zip(placement.tolist(), cell.tolist(), strict=True))) == 42


@given(st.integers(0, 10**9))
def test_a_nominal_size_has_two_significant_digits_and_is_within_five_percent(count):
    assert round2(count) >= 1
    assert len(str(round2(count)).rstrip("0")) <= 2
    assert abs(round2(count) - count) <= 0.05 * count or count == 0


def test_an_even_division_is_accepted():
    placement = subjects(6_000, 1)
    check(selected(placement), SALT, Division(5, 3), fresh(placement, 5, 3), 64)


def test_fewer_records_than_one_batch_are_accepted_undivided():
    placement = subjects(20, 1)
    check(selected(placement), SALT, Division(1, 1), fresh(placement, 1, 1), 64)


@pytest.mark.parametrize("shards", [10, 14, 20])
def test_an_empty_cell_is_refused_and_the_proposal_has_none(shards):
    placement = subjects(42, 140)
    with pytest.raises(PlacementError, match="cells are empty") as refusal:
        check(selected(placement), SALT, Division(shards, 3), fresh(placement, shards, 3), 64)
    proposal = refusal.value.fields["shards"], refusal.value.fields["slices"]
    assert refusal.value.hint == "try --shards {} --slices {}".format(*proposal)
    check(selected(placement), SALT, Division(*proposal), fresh(placement, *proposal), 64)


def test_cells_far_below_a_batch_are_refused_and_the_proposal_is_not():
    placement = subjects(1_000, 1)
    with pytest.raises(PlacementError, match="less than half a batch of 64") as refusal:
        check(selected(placement), SALT, Division(20, 5), fresh(placement, 20, 5), 64)
    proposal = refusal.value.fields["shards"], refusal.value.fields["slices"]
    assert proposal < (20, 5)
    check(selected(placement), SALT, Division(*proposal), fresh(placement, *proposal), 64)


def test_a_cell_of_exactly_half_a_batch_is_accepted_and_one_record_less_is_not():
    placement = subjects(100, 1)
    check(selected(placement), SALT, Division(2), [[32], [68]], 64)
    with pytest.raises(PlacementError, match="holds 31 records, less than half a batch of 64"):
        check(selected(placement), SALT, Division(2), [[31], [68]], 64)


@pytest.mark.parametrize("shard", [0, 1])
@pytest.mark.parametrize("factor", [3, 0.3])
def test_records_far_from_their_frozen_number_are_refused(shard, factor):
    placement = subjects(1_000, 1)
    frozen = [list(sizes) for sizes in fresh(placement, 2, 2)]
    frozen[shard] = [round(size * factor) for size in frozen[shard]]
    with pytest.raises(PlacementError, match="times its nominal number") as refusal:
        check(selected(placement), SALT, Division(2, 2), frozen, 16)
    assert "freeze new ones" in refusal.value.hint


def test_no_records_are_refused():
    with pytest.raises(PlacementError, match="no records"):
        check(selected(np.array([], np.uint64)), SALT, Division(), [[1]], 64)


@given(
    st.integers(1, 60),
    st.integers(1, 30),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(1, 200),
)
def test_a_proposal_is_the_nearest_division_that_is_accepted(people, each, shards, slices, batch):
    placement = subjects(people, each)

    def accepted(division):
        try:
            check(
                selected(placement), SALT, Division(*division), fresh(placement, *division), batch
            )
        except PlacementError:
            return False
        return True

    divisions = [(s, r) for s in range(1, shards + 1) for r in range(1, slices + 1)]
    nearest = max(filter(accepted, divisions), key=lambda division: (sum(division), division[0]))
    assert propose(selected(placement), SALT, Division(shards, slices), batch) == nearest
