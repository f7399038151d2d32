"""Values that could not come back exactly are refused, by their path and with a remedy."""

from collections import OrderedDict, defaultdict, namedtuple
from enum import IntEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from lineage.errors import StateError
from lineage.training import state as codec

Point = namedtuple("Point", "x y")


class Colour(IntEnum):
    RED = 1


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (lambda: 0, "function"),
        (Point(1, 2), "Point"),
        (Colour.RED, "Colour"),
        (Text("a"), "Text"),
        (np.str_("a"), "<U1"),
        (Fraction(1, 3), "Fraction"),
        (np.array([None]), "|O"),
        (np.array(["text"]), "<U4"),
        (np.zeros(2, "i4,f4"), "|V8"),
        (np.longdouble(1), "f16"),
        (np.ma.masked_array([1.0]), "MaskedArray"),
        (defaultdict(lambda: 0), "factory is a function"),
        ({(1, (2, lambda: 0)): 1}, "function"),
    ],
)
def test_a_value_that_would_change_is_refused_by_its_path(value: Any, word: str) -> None:
    state = {"optimizer": {"state": {0: {"moment": value}}}}
    for function in (codec.encode, codec.digest):
        with pytest.raises(StateError, match=r"optimizer\.state\[0\]\.moment") as caught:
            function(state)
        assert word in caught.value.message
        assert caught.value.hint


def test_a_container_with_attributes_of_its_own_is_refused() -> None:
    value = OrderedDict(a=1)
    value.note = "kept elsewhere"
    with pytest.raises(StateError, match="OrderedDict with attributes"):
        codec.encode({"value": value})


def test_a_container_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(StateError, match="nested deeper"):
        codec.encode({"loop": loop})


def test_what_a_header_cannot_hold_is_refused_when_encoded() -> None:
    with pytest.raises(StateError, match="outside arrays take"):
        codec.encode({"text": "x" * 100_000_001})
