"""Exact sums of numbers and of their squares, and correctly rounded quotients and roots of them.

Every finite float64 is a whole number of ``2**-1074``, so sums are whole numbers, of any size: the
order of the rows is lost in them, and so is a row that is subtracted.
"""

from itertools import pairwise
from math import isqrt

import numpy as np
from numpy.typing import NDArray

UNIT = 1074
"""Sums count ``2**-UNIT``, sums of squares ``2**(-2 * UNIT)``."""

_BLOCK = 2**17
"""Products of two 16-bit limbs, so many of them, stay below 2**53: float64 adds them exactly."""

_LIMBS = 4

_Integers = tuple[NDArray[np.float64], NDArray[np.uint64], NDArray[np.int16]]


def sums(values: NDArray[np.generic]) -> tuple[int, int]:
    """The sum and the sum of squares of finite numbers (n,): booleans, integers or floats.

    >>> total, squares = sums(np.array([0.5, -1.5]))
    >>> total == -(2**UNIT), 2 * squares == 5 * 4**UNIT
    (True, True)
    """
    total = squares = 0
    for first in range(0, len(values), _BLOCK):
        sign, magnitude, shift = _integers(values[first : first + _BLOCK])
        order = np.argsort(shift, kind="stable")
        shift = shift[order]
        ones_and_limbs = np.ones((1 + _LIMBS, len(order)))
        ones_and_limbs[1:] = magnitude[order].astype("<u8").view("<u2").reshape(-1, _LIMBS).T
        ones_and_limbs[1:] *= sign[order]
        ends = np.flatnonzero(np.diff(shift, prepend=-1, append=-1)).tolist()
        for low, high in pairwise(ends):
            alike = ones_and_limbs[:, low:high]
            of_sums, *of_products = (alike @ alike.T).astype(np.int64).tolist()
            exponent = int(shift[low])
            total += _whole(of_sums[1:]) << exponent
            squares += _whole([_whole(row[1:]) for row in of_products]) << 2 * exponent
    return total, squares


def _whole(limbs: list[int]) -> int:
    return sum(limb << 16 * place for place, limb in enumerate(limbs))


def _integers(values: NDArray[np.generic]) -> _Integers:
    """Sign, magnitude and shift of each number: ``sign * magnitude * 2**(shift - UNIT)``."""
    if values.dtype.kind == "f":
        bits = values.astype(np.float64).view(np.uint64)
        exponent = (bits >> np.uint64(52) & np.uint64(0x7FF)).astype(np.int16)
        implied = (exponent > 0).astype(np.uint64) << np.uint64(52)
        magnitude = bits & np.uint64(2**52 - 1) | implied
        return _signs(bits >> np.uint64(63) == 1), magnitude, np.maximum(exponent, 1) - 1
    negative = values < 0  # type: ignore[operator]
    wrapped = values.astype(np.uint64)
    magnitude = np.where(negative, -wrapped, wrapped)
    return _signs(negative), magnitude, np.full(len(values), UNIT, np.int16)


def _signs(negative: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(negative, -1.0, 1.0)


def quotient(numerator: int, denominator: int) -> float:
    """The float64 nearest to a fraction, ties to even; infinite beyond the largest.

    >>> quotient(1, 3), quotient(-(10**400), 1)
    (0.3333333333333333, -inf)
    """
    try:
        return numerator / denominator
    except OverflowError:
        return float("inf") if numerator > 0 else float("-inf")


def root(numerator: int, denominator: int) -> float:
    """The float64 nearest to the square root of a fraction that is not negative.

    The root is cut to 60 bits or more and made odd where it is not exact, so that rounding it once
    more cannot go wrong (round to odd: Boldo and Melquiond 2008, "Emulation of a FMA").

    >>> root(2, 1), root(1, 4)
    (1.4142135623730951, 0.5)
    """
    places = max(0, 64 - (numerator.bit_length() - denominator.bit_length()) // 2)
    square, rest = divmod(numerator << 2 * places, denominator)
    whole = isqrt(square)
    if rest or whole * whole != square:
        whole |= 1
    return quotient(whole, 1 << places)
