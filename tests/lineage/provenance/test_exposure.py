"""Exposure against the diary of the programs: every batch that was really handed out."""

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings

from lineage.data.closure import closure
from lineage.data.identity import resolve
from lineage.provenance.exposure import Exposure, exposures
from lineage.training.ensemble import Recipe


def ask(lived: Any, kind: str, name: str, within: str) -> list[Exposure]:
    positions = resolve(lived.store, kind, [name], within)[name]
    return exposures(lived.store, closure(lived.store, positions).everything)


def said(found: list[Exposure]) -> dict[str, Any]:
    return {e.run_id: (e.steps.tolist(), e.visits, set(e.segments), set(e.fits)) for e in found}


def agree(histories: ModuleType, oracle: ModuleType, history: Any) -> None:
    with histories.lived(history) as lived:
        truth = oracle.truth(lived)
        for kind, name, within, rows in lived.questions():
            assert said(ask(lived, kind, name, within)) == truth.reach(rows).runs


@pytest.mark.no_cover
def test_exposures_are_the_batches_and_fits_that_the_programs_were_given(
    histories: ModuleType, oracle: ModuleType
) -> None:
    @settings(max_examples=5)
    @given(histories.histories())
    def holds(history: Any) -> None:
        agree(histories, oracle, history)

    holds()


@pytest.mark.soak
def test_exposures_of_many_histories(histories: ModuleType, oracle: ModuleType) -> None:
    def holds(history: Any) -> None:
        agree(histories, oracle, history)

    histories.soak(12, holds, histories.histories())


def test_a_step_with_too_few_records_is_no_exposure(
    histories: ModuleType, oracle: ModuleType
) -> None:
    recipe = Recipe(epochs=3, batch_size=3, min_batch=3)
    with histories.lived(histories.small(recipe)) as lived:
        (run,) = lived.diary
        executed = set(oracle.truth(lived).batches(run))
        assert len(executed) == 21 - lived.sql("SELECT skipped FROM segments")[0][0] < 21
        named: set[int] = set()
        for number in range(20):
            for exposure in ask(lived, "record", str(number), "a"):
                named.update(exposure.steps.tolist())
        assert named == executed


def test_what_an_abandoned_run_did_after_its_last_checkpoint_is_no_exposure(
    histories: ModuleType, oracle: ModuleType
) -> None:
    recipe = Recipe(epochs=4, batch_size=4, checkpoint_every=2)
    history = histories.small(recipe, interrupt=7, resumed=False)
    with histories.lived(history) as lived:
        (run,) = lived.diary
        assert max(oracle.truth(lived).batches(run)) == 6
        (seen,) = ask(lived, "subject", "p1", "people")
        assert max(seen.steps) < 6
        assert seen.run_id == run


def test_what_a_resumed_run_did_twice_counts_once(
    histories: ModuleType, oracle: ModuleType
) -> None:
    recipe = Recipe(epochs=4, batch_size=4, checkpoint_every=5)
    with histories.lived(histories.small(recipe, interrupt=9)) as lived:
        ((run, entries),) = lived.diary.items()
        batches = oracle.truth(lived).batches(run)
        assert len(entries) > len(batches)
        (seen,) = ask(lived, "record", "0", "a")
        assert seen.steps.tolist() == [step for step, rows in sorted(batches.items()) if 0 in rows]
        assert seen.visits == len(seen.steps) == 4


def test_a_fit_takes_in_the_rows_of_its_own_shard_only(histories: ModuleType) -> None:
    history = histories.small(Recipe(shards=2, epochs=2, batch_size=4), fit=("a",))
    with histories.lived(history) as lived:
        fitted = {
            run: {row for kind, _, rows in entries if kind == "fit" for row in rows}
            for run, entries in lived.diary.items()
        }
        assert set.union(*fitted.values()) == set(range(20))
        assert set.intersection(*fitted.values()) == set()
        for number in range(20):
            seen = ask(lived, "record", str(number), "a")
            assert {each.run_id for each in seen if each.fits} == {
                run for run, rows in fitted.items() if number in rows
            }
