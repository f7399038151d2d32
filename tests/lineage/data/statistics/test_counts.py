"""Counts of values and tokens, judged by a Counter."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage import Counts, TokenCounts
from lineage.errors import StatisticError
from lineage.training import state as codec

reals = st.lists(st.sampled_from([0.0, -0.0, 1.5, math.inf, 5e-324, math.nan, -2.0]), max_size=9)
wholes = st.lists(st.integers(-3, 3) | st.just(2**62), max_size=9)
texts = st.lists(st.none() | st.text("ab é\x85\ud800", max_size=6), max_size=9)
OF_TEXT = TokenCounts.of("x")


def column(kind: Any, given: list[Any]) -> dict[str, Any]:
    return {"x": np.array(given, kind)}


def stored(statistic: Any) -> bytes:
    data, _ = codec.encode_verified({"fitted": statistic})
    assert codec.decode(data)["fitted"] == statistic
    return data


@pytest.mark.parametrize(
    ("kind", "lists", "measure"),
    [
        (np.float64, reals, Counts.of("x")),
        (np.int64, wholes, Counts.of("x")),
        (np.object_, texts, Counts.of("x")),
        (np.object_, texts, OF_TEXT),
    ],
)
def test_rows_that_are_subtracted_were_never_there_in_whatever_order(
    kind: Any, lists: Any, measure: Any
) -> None:
    @settings(max_examples=25)
    @given(lists, lists)
    def holds(kept: list[Any], gone: list[Any]) -> None:
        fresh = stored(measure(column(kind, kept)))
        every = measure(column(kind, gone[::-1])) + measure(column(kind, kept[::-1]))
        assert stored(every - measure(column(kind, gone))) == fresh
        assert every == measure(column(kind, kept + gone))

    holds()


@given(reals)
def test_values_are_counted_as_equal_numbers_are(given: list[float]) -> None:
    counts = Counts.of("x")(column(np.float64, given))
    oracle = Counter(value for value in given if value == value)
    assert dict(counts.counts) == dict(oracle)
    assert math.copysign(1, dict.fromkeys(value for value, _ in counts.counts).get(0.0, 1) or 1) > 0
    assert (counts.rows, counts.missing) == (len(given), sum(map(math.isnan, given)))
    assert (counts.count(1.5), counts.count("1.5")) == (given.count(1.5), 0)


@given(texts, st.integers(0, 5))
def test_a_vocabulary_is_the_most_frequent_tokens_and_ties_are_ordered(
    given: list[str | None], size: int
) -> None:
    tokens = OF_TEXT(column(np.object_, given))
    oracle = Counter(token for text in given for token in (text or "").split())
    assert tokens.vocabulary(size) == tuple(sorted(oracle, key=lambda t: (-oracle[t], t))[:size])
    assert (tokens.total, tokens.missing) == (oracle.total(), given.count(None))
    assert tokens.most_common() == tuple((t, oracle[t]) for t in tokens.vocabulary())


def test_a_tokenizer_of_ones_own_is_known_by_name_and_not_stored() -> None:
    tokens = TokenCounts.of("x", list)(column(object, ["ab", "b"]))
    assert (tokens.tokenizer, tokens.vocabulary()) == ("list", ("b", "a"))
    back: Any = codec.decode(stored(tokens))["fitted"]
    assert back - tokens(column(object, ["b"])) == tokens(column(object, ["ab"]))
    with pytest.raises(StatisticError, match="were split by list, which is not stored"):
        back(column(object, ["ab"]))
    with pytest.raises(StatisticError, match="do not measure the same"):
        tokens + OF_TEXT


@pytest.mark.parametrize(
    ("measure", "cells", "said"),
    [
        (Counts.of("x"), np.zeros((2, 2)), "column 'x' holds lists"),
        (OF_TEXT, np.array([1, 2]), "column 'x' holds no text"),
        (TokenCounts.of("x", str.encode), np.array(["a"], object), "str.encode gives tokens"),
    ],
)
def test_what_cannot_be_counted_is_refused(measure: Any, cells: Any, said: str) -> None:
    with pytest.raises(StatisticError, match=said) as refused:
        measure({"x": cells})
    assert refused.value.hint


@pytest.mark.parametrize("more", [[1, 1], [2], [None]])
def test_rows_that_were_not_among_those_counted_are_noticed(more: list[Any]) -> None:
    few = Counts.of("x")(column(object, [1, 3]))
    with pytest.raises(StatisticError, match="not among those that were counted"):
        few - few(column(object, more))


def test_a_summary_tells_no_value() -> None:
    tokens = OF_TEXT(column(object, ["to be or not to be", None]))
    assert tokens.summary() == {"x": {"rows": 2, "missing": 1, "total": 6, "distinct": 4}}
