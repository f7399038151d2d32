"""How members answer as one: means, votes, weights, and what decides a tie."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import ProgramError
from lineage.training.aggregation import Aggregation, aggregated, model_digest
from lineage.training.batch import Batch
from lineage.training.model import load_model
from storage.catalogue import tables

ROWS = st.lists(st.integers(0, 4), min_size=3, max_size=3)
"""Probabilities of three classes in quarters, so that ties are frequent and exact."""


@given(st.lists(ROWS, min_size=1, max_size=5), st.data())
def test_a_vote_is_what_counting_ballots_by_hand_says(members: list[list[int]], data: Any) -> None:
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(members), max_size=len(members)))
    answers = [np.array([row]) / 4 for row in members]
    for how, counts in (
        (Aggregation.VOTE, [1] * len(members)),
        (Aggregation.WEIGHTED_VOTE, weights),
    ):
        ballots = [0, 0, 0]
        for row, count in zip(members, counts, strict=True):
            ballots[row.index(max(row))] += count
        expected = [float(Fraction(each, sum(counts))) for each in ballots]
        (found,) = aggregated(how, answers, weights)
        assert found.tolist() == expected
        assert found.argmax() == ballots.index(max(ballots))


def test_of_equal_votes_the_lowest_class_wins_whatever_the_weights_are() -> None:
    second, first = [[0.2, 0.8]], [[0.6, 0.4]]
    assert aggregated(Aggregation.VOTE, [second, first], (9, 1)).argmax() == 0
    assert aggregated(Aggregation.WEIGHTED_VOTE, [second, first], (9, 1)).argmax() == 1
    assert aggregated(Aggregation.WEIGHTED_VOTE, [second, first], (7, 7)).argmax() == 0
    assert aggregated(Aggregation.VOTE, [[[0.5, 0.5]]], (1,)).tolist() == [[1, 0]]


def test_one_value_a_record_is_the_probability_of_class_1() -> None:
    members = [[0.5, 0.9, 0.0], [0.6, 0.9, 0.2], [0.4, 0.9, 1.0], [0.7, 0.1, 0.3]]
    assert aggregated(Aggregation.VOTE, members, (1,) * 4).tolist() == [0.5, 0.75, 0.25]
    column = [np.array(member)[:, None] for member in members]
    assert aggregated(Aggregation.VOTE, column, (1,) * 4).tolist() == [[0.5], [0.75], [0.25]]


def test_a_vote_of_values_that_are_no_probabilities_is_refused() -> None:
    with pytest.raises(ProgramError, match="no probability") as refused:
        aggregated(Aggregation.VOTE, [[0.5, 1.5]], (1,))
    assert "--aggregation vote" in refused.value.hint


def test_a_weighted_mean_is_that_of_all_records_together() -> None:
    found = aggregated(Aggregation.WEIGHTED_MEAN, [[[1.0, 0.0]], [[0.0, 1.0]]], (30, 10))
    assert found.tolist() == [[0.75, 0.25]]


def test_how_a_version_aggregates_is_part_of_its_digest() -> None:
    digests = {model_digest(how, ["a", "b"], (1, 2)) for how in Aggregation}
    assert len(digests) == 4
    assert model_digest(Aggregation.VOTE, ["a", "b"], (3, 4)) in digests
    assert model_digest(Aggregation.WEIGHTED_VOTE, ["a", "b"], (3, 4)) not in digests


@pytest.mark.parametrize("how", Aggregation)
def test_a_trained_version_predicts_as_it_was_told_to(
    store: Any, tally: Any, workshop: Any, how: Aggregation
) -> None:
    tally.register(store)
    version = tally.train(store, aggregation=how)
    assert workshop.rows_of(store, tables.ModelVersion, id=version.id)[0].aggregation == how
    values = np.linspace(-1, 1, 5)
    batch = Batch({"x": values}.__getitem__, np.arange(5), np.arange(5, dtype=np.uint64))
    ensemble = load_model(store, version.id)
    assert [member.weight for member in ensemble.members] == [60, 36]
    answers = [member.predict(batch) for member in ensemble.members]
    assert np.array_equal(ensemble.predict(batch), aggregated(how, answers, (60, 36)))
