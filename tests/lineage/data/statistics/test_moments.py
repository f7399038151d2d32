"""Moments: the same in bytes whichever way the rows came, and after rows went."""

import math
import statistics
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lineage import Moments
from lineage.data.statistics.moments import Sums
from lineage.errors import StatisticError
from lineage.training import state as codec

EXTREMES = [0.0, -0.0, 5e-324, 1e-308, 1e308, -1e308, math.nan, math.nextafter(1, 2)]
cells = st.floats(allow_infinity=False) | st.sampled_from(EXTREMES)
rows = st.lists(
    st.tuples(cells, st.integers(-(2**63), 2**63 - 1), st.tuples(cells, cells)), max_size=12
)
OF_ALL = Moments.of("real", "whole", "pair")


def columns(given: list[Any]) -> dict[str, Any]:
    real, whole, pair = zip(*given, strict=True) if given else ((), (), ())
    return {
        "real": np.array(real, np.float64),
        "whole": np.array(whole, np.int64),
        "pair": np.array(pair, np.float64).reshape(-1, 2),
    }


def stored(moments: Moments) -> bytes:
    return codec.encode({"fitted": moments})


@settings(max_examples=40)
@given(rows, st.randoms(), st.lists(st.integers(0, 12), max_size=3))
def test_order_and_partition_leave_no_trace(given: list[Any], luck: Any, cuts: list[int]) -> None:
    whole = stored(OF_ALL(columns(given)))
    luck.shuffle(given)
    ends = [0, *sorted(cuts), len(given)]
    parts = [given[low:high] for low, high in pairwise(ends)]
    assert stored(sum((OF_ALL(columns(part)) for part in parts), OF_ALL)) == whole


@settings(max_examples=40)
@given(rows, rows)
def test_rows_that_are_subtracted_were_never_there(kept: list[Any], gone: list[Any]) -> None:
    every = OF_ALL(columns(kept + gone))
    assert stored(every - OF_ALL(columns(gone))) == stored(OF_ALL(columns(kept)))
    assert stored(every - every(columns(kept)) + every(columns(gone))) == stored(
        OF_ALL(columns(gone + gone))
    )


@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=9))
def test_what_is_read_of_them_is_what_the_standard_library_says(given: list[float]) -> None:
    moments = Moments.of("x")({"x": np.array([*given, math.nan])})
    assert moments.mean("x") == statistics.mean(given)
    assert moments.variance("x") == statistics.pvariance(given)
    assert moments.std("x") == statistics.pstdev(given)
    assert moments.sum("x") == math.fsum(given)
    assert (moments.count("x"), moments.missing("x")) == (len(given), 1)


def test_a_vector_has_the_moments_of_each_component() -> None:
    pixels = np.arange(12, dtype=np.float32).reshape(4, 3)
    moments = Moments.of("pixels")({"pixels": pixels})
    assert np.array_equal(moments.mean("pixels"), pixels.mean(axis=0))
    assert np.allclose(moments.std("pixels"), pixels.std(axis=0), rtol=1e-7)
    assert moments.summary() == {"pixels": {"count": 4, "components": 3}}


def test_no_values_have_no_mean_and_too_large_ones_an_infinite_variance() -> None:
    nothing = Moments.of("x")({"x": np.array([math.nan])})
    assert all(map(math.isnan, (nothing.mean("x"), nothing.variance("x"), nothing.std("x"))))
    large = Moments.of("x")({"x": np.array([-1e308, 1e308])})
    assert (large.mean("x"), large.variance("x"), large.std("x")) == (0.0, math.inf, 1e308)


def test_numbers_that_ruin_floating_sums_do_no_harm() -> None:
    values = {"x": np.array([1e308, 1.0, 1e-308, -1e308] * 2)}
    less = Moments.of("x")(values) - Moments.of("x")({"x": np.array([1e308, -1e308] * 2)})
    assert less.sum("x") == 2.0
    assert less == Moments.of("x")({"x": np.array([1.0, 1e-308] * 2)})


@settings(max_examples=20)
@given(rows)
def test_they_come_back_from_the_codec_as_they_were(given: list[Any]) -> None:
    moments = OF_ALL(columns(given))
    data, _ = codec.encode_verified({"fitted": [moments, {"again": moments}]})
    first, again = codec.decode(data)["fitted"]  # type: ignore[misc]
    assert first == again["again"] == moments
    assert (codec.digest({"x": moments}) == codec.digest({"x": OF_ALL})) == (moments == OF_ALL)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (np.array([1.0, math.inf]), "holds an infinite value"),
        (np.array(["1", None], object), "holds no numbers"),
    ],
)
def test_what_has_no_moments_is_refused(cells: Any, said: str) -> None:
    with pytest.raises(StatisticError, match=f"column 'x' {said}") as refused:
        Moments.of("x")({"x": cells})
    assert refused.value.hint


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(StatisticError, match="columns 'x', 'y' are not equally long"):
        Moments.of("x", "y")({"x": np.zeros(2), "y": np.zeros(3)})


def test_what_does_not_measure_the_same_does_not_add_up() -> None:
    with pytest.raises(StatisticError, match="do not measure the same"):
        Moments.of("x") + Moments.of("y")
    with pytest.raises(StatisticError, match="another number of components"):
        Moments.of("x")({"x": np.zeros((2, 2))}) + Moments.of("x")({"x": np.zeros((2, 3))})
    with pytest.raises(StatisticError, match="not the moments of a column 'y'"):
        Moments.of("x").mean("y")


@pytest.mark.parametrize("more", [[1.0, 2.0, 3.0], [5.0], [math.nan]])
def test_rows_that_were_not_among_those_counted_are_noticed(more: list[float]) -> None:
    few = Moments.of("x")({"x": np.array([1.0, 2.0])})
    with pytest.raises(StatisticError, match="not among those that were counted"):
        few - few({"x": np.array(more)})


@given(st.integers(-1, 2), st.integers(-9, 9), st.integers(-9, 9))
def test_sums_that_no_numbers_have_cannot_be_made(count: int, total: int, squares: int) -> None:
    possible = (count == total == squares == 0) or (count > 0 and count * squares >= total**2)
    assume(not possible)
    with pytest.raises(StatisticError):
        Sums(count, total, squares)
