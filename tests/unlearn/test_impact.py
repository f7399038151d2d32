"""Impact against the diary: no false negative, no false positive, whoever is asked about."""

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from lineage.data.identity import Positions, resolve
from lineage.provenance.reach import Moment
from lineage.training.ensemble import Recipe
from storage.errors import InvalidInputError, NotFoundError
from unlearn.impact import Impact, impact
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

MASKS = st.integers(0, 2**9 - 1)
MOMENTS = st.integers(0, 24)


def ask(lived: Any, kind: str, name: str, within: str) -> Positions:
    return resolve(lived.store, kind, [name], within)[name]


def assert_same(found: Impact, expected: Any) -> None:
    exposed = {e.run_id: (e.steps.tolist(), e.visits) for e in found.exposures}
    assert exposed == {run: each[:2] for run, each in expected.runs.items()}
    assert found.segments == expected.segments
    assert found.fits == expected.fits
    assert found.checkpoints == expected.checkpoints
    assert found.versions == expected.versions
    assert found.publications == expected.publications


def agree(histories: ModuleType, oracle: ModuleType, history: Any, mask: int, at: int) -> None:
    """Ask about each alone, now and at a moment, and about some of them together."""
    with histories.lived(history) as lived:
        truth = oracle.truth(lived)
        together: Positions = {}
        rows: set[int] = set()
        for place, (*question, its_rows) in enumerate(lived.questions()):
            positions = ask(lived, *question)
            assert_same(impact(lived.store, positions), truth.reach(its_rows))
            agree_at(lived, truth, positions, its_rows, at)
            if mask >> place & 1:
                rows |= its_rows
                for dataset, more in positions.items():
                    together[dataset] = together.get(dataset, BitMap()) | more
        assert_same(impact(lived.store, together), truth.reach(rows))


def agree_at(lived: Any, truth: Any, positions: Positions, rows: set[int], at: int) -> None:
    """As of a moment of every run, and of each run alone that came to it."""
    assert_same(impact(lived.store, positions, Moment(at)), truth.reach(rows, at))
    for run, begins in truth.begins.items():
        if begins <= at <= truth.done(run):
            expected = truth.reach(rows, at, run)
            assert_same(impact(lived.store, positions, Moment(at, run)), expected)
        else:
            with pytest.raises(InvalidInputError, match=f"was never at {at}"):
                impact(lived.store, positions, Moment(at, run))


@pytest.mark.no_cover
def test_impact_is_what_a_walk_over_every_batch_finds(
    histories: ModuleType, oracle: ModuleType
) -> None:
    @settings(max_examples=5)
    @given(histories.histories(), MASKS, MOMENTS)
    def holds(history: Any, mask: int, at: int) -> None:
        agree(histories, oracle, history, mask, at)

    holds()


@pytest.mark.no_cover
def test_impact_goes_through_what_models_make_and_what_learns_it(
    histories: ModuleType, oracle: ModuleType
) -> None:
    @settings(max_examples=3)
    @given(histories.schools(), MOMENTS)
    def holds(history: Any, at: int) -> None:
        with histories.lived(history) as lived:
            truth = oracle.truth(lived)
            for *question, rows in lived.questions():
                positions = ask(lived, *question)
                assert_same(impact(lived.store, positions), truth.reach(rows))
                assert_same(impact(lived.store, positions, Moment(at)), truth.reach(rows, at))

    holds()


@pytest.mark.soak
def test_impact_in_many_histories(histories: ModuleType, oracle: ModuleType) -> None:
    def holds(history: Any, mask: int, at: int) -> None:
        agree(histories, oracle, history, mask, at)

    histories.soak(12, holds, histories.histories() | histories.schools(), MASKS, MOMENTS)


def test_a_fine_tune_descends_at_every_moment_from_all_that_its_start_had_seen(
    histories: ModuleType, oracle: ModuleType
) -> None:
    rows = {
        "a": tuple((n, str(n), ()) for n in range(24)),
        "b": tuple((100 + n, str(n), ()) for n in range(8)),
    }
    first = histories.Training("a", Recipe(epochs=2, batch_size=4, checkpoint_every=5))
    tuned = histories.Training("b", Recipe(epochs=2, batch_size=4), model="n", start=2)
    with histories.lived(histories.History(rows, (first, tuned))) as lived:
        before, after = lived.diary
        truth = oracle.truth(lived)
        late = next(row for row in range(24) if min(truth.reach([row]).runs[before][0]) > 2)
        found = impact(lived.store, ask(lived, "record", str(late), "a"), Moment(2))
        assert found.exposures == ()
        assert_same(found, truth.reach([late], 2))
        assert {segment for run, segment, *_ in truth.laps if run == after} == found.segments


def test_a_moment_of_a_run_that_is_not_there_is_not_found(histories: ModuleType) -> None:
    alone = histories.small(Recipe(epochs=1, batch_size=4))
    with histories.lived(alone) as lived, pytest.raises(NotFoundError, match="no run run-0"):
        impact(lived.store, {}, Moment(run="run-0"))


def test_nobody_has_no_impact(histories: ModuleType) -> None:
    with histories.lived(histories.small(Recipe(epochs=1, batch_size=4))) as lived:
        found = impact(lived.store, {})
        assert not found.exposures
        assert not found.segments | found.checkpoints | found.versions


def test_erasing_somebody_hides_no_step_of_those_who_shared_batches_with_them(
    histories: ModuleType, oracle: ModuleType, carry_out: Any
) -> None:
    """A step of two records looks too small to have been executed once one of them is erased."""
    with histories.lived(histories.small(Recipe(epochs=4, batch_size=2, min_batch=2))) as lived:
        (run,) = lived.diary
        truth = oracle.truth(lived)
        assert 0 < len(truth.batches(run)) < 40
        request = accept(lived.store, "subject", ["p1"])
        carry_out(lived, make_plan(lived.store, [request.id])[0])
        for kind, name, within, rows in lived.questions():
            if name != "p1" and not rows & set(range(0, 20, 2)):
                found = impact(lived.store, ask(lived, kind, name, within))
                steps = {each.run_id: set(each.steps.tolist()) for each in found.exposures}
                assert steps[run] >= set(truth.reach(rows).runs[run][0])


def test_in_a_replay_records_have_only_the_steps_that_were_executed_again(
    histories: ModuleType, oracle: ModuleType, carry_out: Any
) -> None:
    rows = {"a": tuple((n, str(n), (f"p{n % 12}",)) for n in range(48))}
    training = histories.Training("a", Recipe(slices=3, epochs=4, batch_size=8))
    with histories.lived(histories.History(rows, (training,))) as lived:
        truth = oracle.truth(lived)
        latest = min(lived.questions(), key=lambda each: len(truth.reach(each[-1]).checkpoints))
        request = accept(lived.store, *latest[:1], [latest[1]])
        results = carry_out(lived, make_plan(lived.store, [request.id])[0])
        replay = results["replay-1"]["run"]
        assert lived.sql(f"SELECT first_step > 0 FROM runs WHERE id = '{replay}'") == [(1,)]
        truth = oracle.truth(lived)
        for *question, its_rows in lived.questions():
            if not its_rows & latest[-1]:
                found = impact(lived.store, ask(lived, *question))
                steps = {
                    each.run_id: (each.steps.tolist(), each.visits) for each in found.exposures
                }
                assert steps[replay] == truth.reach(its_rows).runs[replay][:2]


def test_a_run_that_is_still_going_on_is_part_of_the_impact(
    histories: ModuleType, oracle: ModuleType
) -> None:
    recipe = Recipe(epochs=4, batch_size=4, checkpoint_every=2)
    history = histories.small(recipe, interrupt=9, resumed=False)
    with histories.lived(history) as lived:
        (run,) = lived.diary
        found = impact(lived.store, ask(lived, "subject", "p1", "people"))
        assert [each.run_id for each in found.exposures] == [run]
        assert found.checkpoints
        assert not found.versions
