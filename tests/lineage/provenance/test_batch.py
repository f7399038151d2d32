"""The batch of a step against the diary: who was really handed out, and who may not be named."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings

from lineage.provenance.batch import batch_at
from lineage.training.ensemble import Recipe
from lineage.training.events import Updated
from lineage.training.observed import Watch
from lineage.training.watching import observe
from storage.catalogue import tables
from storage.errors import InvalidInputError, NotFoundError
from unlearn.request.lifecycle import accept


def agree(histories: ModuleType, oracle: ModuleType, history: Any) -> None:
    """Every step of every run; the rows of what transforms made are counted only."""
    with histories.lived(history) as lived:
        truth = oracle.truth(lived)
        segments = {(lap[0], step): lap[1:3] for lap in truth.laps for step in range(*lap[3:])}
        for run in lived.diary:
            batches = truth.batches(run)
            for step in range(truth.begins[run], truth.done(run)):
                found = batch_at(lived.store, run, step)
                assert (found.withheld, found.erased, found.complete) == (0, 0, True)
                assert (found.segment, found.checkpoint) == segments[run, step]
                assert found.state == ("executed" if step in batches else "skipped")
                if step in batches:
                    assert_same(lived, found, batches[step])


def assert_same(lived: Any, found: Any, numbers: list[int]) -> None:
    assert found.size == len(found.records) == len(numbers)
    assert all(each.applied for each in found.records)
    rows = lived.rows.get(found.dataset)
    if rows is not None:
        assert [rows[each.position][:2] for each in found.records] == [
            (number, each.id) for number, each in zip(numbers, found.records, strict=True)
        ]


def test_a_batch_has_the_records_that_the_program_was_given_in_their_order(
    histories: ModuleType, oracle: ModuleType
) -> None:
    @settings(max_examples=4)
    @given(histories.histories())
    def holds(history: Any) -> None:
        agree(histories, oracle, history)

    holds()


@pytest.mark.soak
def test_batches_of_many_histories(histories: ModuleType, oracle: ModuleType) -> None:
    def holds(history: Any) -> None:
        agree(histories, oracle, history)

    histories.soak(12, holds, histories.histories())


def every(store: Any, run: str, steps: int) -> Iterator[Any]:
    return (batch_at(store, run, step) for step in range(steps))


@pytest.mark.parametrize("checkpoint_every", [1, 3])
def test_those_who_are_being_forgotten_are_counted_and_those_who_are_gone_where_it_can_be_told(
    histories: ModuleType, oracle: ModuleType, apply: Any, checkpoint_every: int
) -> None:
    recipe = Recipe(epochs=4, batch_size=4, min_batch=2, checkpoint_every=checkpoint_every)
    with histories.lived(histories.small(recipe)) as lived:
        (run,) = lived.diary
        truth = oracle.truth(lived)
        batches, gone = truth.batches(run), {2, 6, 10, 14, 18}
        assert len(batches) < 20
        request = accept(lived.store, "subject", ["p3"])
        for found in every(lived.store, run, 20):
            given = batches.get(found.step, [])
            assert not {int(each.id) for each in found.records} & gone
            if found.state == "executed":
                assert (found.withheld, found.erased) == (len(gone.intersection(given)), 0)
        apply(lived.store, request.id)
        told, counted = 0, 0
        for found in every(lived.store, run, 20):
            given = batches.get(found.step, [])
            lost = len(gone.intersection(given))
            assert found.withheld == 0
            assert found.state in ("uncertain", "executed" if found.step in batches else "skipped")
            assert {int(each.id) for each in found.records} >= set(given) - gone
            assert found.erased in (None, lost)
            if found.erased_of_segment is not None:
                (steps,) = [range(*lap[3:]) for lap in truth.laps if found.step in range(*lap[3:])]
                inside = [len(gone.intersection(batches.get(step, []))) for step in steps]
                assert found.erased_of_segment == sum(inside)
            told += bool(found.erased)
            counted += bool(found.erased_of_segment)
        assert counted
        assert bool(told) == (checkpoint_every == 1)


def test_the_batches_of_an_order_that_was_drawn_tell_exactly_how_many_are_gone(
    store: Any, tally: Any, workshop: Any, apply: Any
) -> None:
    tally.register(store)
    tally.train(store, **workshop.RECORDED)
    (run,) = workshop.rows_of(store, tables.Run)
    consumed = dict(tally.consumed())
    apply(store, accept(store, "subject", ["person-07"]).id)
    erased = {f"record-{row:04d}" for row in range(7, 96, 24)}
    for found in every(store, run.id, 36):
        given = consumed[found.step]
        assert found.ordered
        assert [each.id for each in found.records] == [each for each in given if each not in erased]
        assert found.erased == len(erased.intersection(given))
        assert found.erased_of_segment is None
    assert sum(found.erased for found in every(store, run.id, 36)) == 12
    replay = next(each for each in workshop.rows_of(store, tables.Run) if each.replay_of)
    after = batch_at(store, replay.id, 20)
    assert (after.erased, after.size, after.state) == (
        0, len(set(consumed[20]) - erased), "executed"
    )  # fmt: skip


def test_what_no_update_followed_is_shown_as_not_applied(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store, rows=workshop.people(4, 3))
    with observe(store, "people", "m", {}, Watch()) as run:
        window = run.window()
        for rows, kept in (([3, 1], False), ([7, 0, 2], False), ([5], True)):
            run.draw(run.identify(run.locator.rows(rows)))
            if not kept:
                run.discard()
            if rows != [7, 0, 2]:
                run.update(Updated(window))
    lost, mixed = every(store, run.id, 2)
    assert (lost.state, mixed.state, lost.ordered) == ("without-effect", "executed", False)
    assert [(each.position, each.applied) for each in lost.records] == [(1, False), (3, False)]
    assert [(each.position, each.applied) for each in mixed.records] == [
        (0, False), (2, False), (7, False), (5, True)
    ]  # fmt: skip


def test_a_step_that_was_not_kept_is_drawn_and_not_executed(histories: ModuleType) -> None:
    recipe = Recipe(epochs=4, batch_size=4, checkpoint_every=2)
    with histories.lived(histories.small(recipe, interrupt=7, resumed=False)) as lived:
        (run,) = lived.diary
        found = batch_at(lived.store, run, 12)
        assert (found.state, found.segment, found.checkpoint) == ("not-executed", None, None)
        assert found.size == len(found.records) > 0
        assert not any(each.applied for each in found.records)


def test_a_step_that_a_run_does_not_have_is_refused(
    store: Any, tally: Any, workshop: Any, apply: Any
) -> None:
    tally.register(store)
    tally.train(store)
    (run, *_) = workshop.rows_of(store, tables.Run)
    with pytest.raises(InvalidInputError, match="has no step 400"):
        batch_at(store, run.id, 400)
    with pytest.raises(NotFoundError, match="no run run-0"):
        batch_at(store, "run-0", 0)


def test_the_steps_before_a_replay_are_those_of_the_run_it_goes_on_from(
    histories: ModuleType, oracle: ModuleType, apply: Any
) -> None:
    rows = {"a": tuple((n, str(n), (f"p{n % 12}",)) for n in range(48))}
    training = histories.Training("a", Recipe(slices=3, epochs=4, batch_size=8))
    with histories.lived(histories.History(rows, (training,))) as lived:
        truth = oracle.truth(lived)
        latest = min(lived.questions(), key=lambda each: len(truth.reach(each[-1]).checkpoints))
        apply(lived.store, accept(lived.store, latest[0], [latest[1]]).id)
        ((replay, begins),) = lived.sql(
            "SELECT id, first_step FROM runs WHERE first_step > 0 AND replay_of IS NOT NULL"
        )
        assert batch_at(lived.store, replay, begins).state == "executed"
        with pytest.raises(InvalidInputError, match=f"has no step {begins - 1}") as refused:
            batch_at(lived.store, replay, begins - 1)
        assert "the run of that one" in refused.value.hint
