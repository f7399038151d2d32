"""Sums without rounding and quotients with one, judged by fractions."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineage.data.statistics.exact import UNIT, quotient, root, sums

EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e-308, 1e308, -1e308, 1.0]
EXTREMES += [math.nextafter(2, 1), -math.nextafter(math.inf, 0)]

floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(EXTREMES)
numbers = st.one_of(
    hnp.arrays("f8", st.integers(0, 20), elements=floats),
    *(
        st.integers(0, 20).flatmap(
            lambda size, dtype=dtype: hnp.arrays(
                dtype, size, elements=hnp.from_dtype(np.dtype(dtype), allow_nan=False)
            ).filter(lambda array: bool(np.isfinite(array).all()))
        )
        for dtype in ("?", "i1", "u1", "i8", "u8", "f2", "f4", ">f8", ">i4")
    ),
)


def fractions(values: Any) -> list[Fraction]:
    return [Fraction(value) for value in values.tolist()]


@settings(max_examples=50)
@given(numbers)
def test_sums_are_those_of_fractions(values: Any) -> None:
    total, squares = sums(values)
    assert Fraction(total, 2**UNIT) == sum(fractions(values))
    assert Fraction(squares, 4**UNIT) == sum(each**2 for each in fractions(values))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("f8", math.nextafter(2, 1)),
        ("f8", -math.nextafter(math.inf, 0)),
        ("u8", 2**64 - 1),
        ("i8", -(2**63)),
    ],
)
@pytest.mark.parametrize("count", [2**17, 2**18 + 3])
def test_the_longest_significands_do_not_overflow_however_many_they_are(
    kind: str, value: float, count: int
) -> None:
    total, squares = sums(np.full(count, value, kind))
    assert Fraction(total, 2**UNIT) == count * Fraction(value)
    assert Fraction(squares, 4**UNIT) == count * Fraction(value) ** 2


def between(value: float) -> tuple[Fraction, Fraction]:
    """What rounds to a float lies between these: halfway to its neighbours."""
    beyond = Fraction(math.nextafter(math.inf, 0)) + Fraction(2) ** 970
    low, high = (math.nextafter(value, towards) for towards in (-math.inf, math.inf))
    return (
        -beyond if math.isinf(low) else (Fraction(low) + Fraction(value)) / 2,
        beyond if math.isinf(high) else (Fraction(value) + Fraction(high)) / 2,
    )


wholes = st.integers(0, 2**40) | st.integers(0, 2**2040)


@given(wholes, wholes.filter(bool), st.booleans())
def test_a_quotient_and_a_root_are_the_nearest_floats(
    above: int, below: int, negative: bool
) -> None:
    exact = Fraction(above, below)
    near = quotient(-above if negative else above, below)
    if math.isinf(near):
        assert exact >= 2**1023
    else:
        low, high = between(near)
        assert low <= (-exact if negative else exact) <= high
    low, high = between(root(above, below))
    assert max(low, Fraction(0)) ** 2 <= exact <= high**2


@given(floats.map(abs), st.sampled_from([-1, 0, 1]))
def test_a_root_just_beside_the_middle_of_two_floats_goes_to_its_side(
    value: float, side: int
) -> None:
    low, high = sorted((value, math.nextafter(value, 0)))
    middle = (Fraction(low) + Fraction(high)) / 2
    beside = middle**2 * (1 + side * Fraction(1, 2**3000))
    near = root(beside.numerator, beside.denominator)
    assert near == {-1: low, 0: quotient(middle.numerator, middle.denominator), 1: high}[side]
