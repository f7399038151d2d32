"""Steps that nobody can tell any more are said to be gone; an answer without them is incomplete."""

from typing import Any

import pytest

from lineage.provenance.batch import batch_at
from lineage.provenance.query import who_saw
from lineage.provenance.reach import Moment
from lineage.store import Store
from lineage.training.registry import retire
from storage.catalogue import tables
from tests.unlearn.equality.forgetting import forget
from tests.unlearn.test_forgetting_everybody import PLAIN, SISA, everybody, trained
from tests.unlearn.test_forgetting_in_groups import derived, made

pytestmark = pytest.mark.no_cover

__all__ = ["made"]


def steps_of(store: Store, person: str) -> dict[str, tuple[int, ...]]:
    """The steps of each run that learned from a person."""
    return {**who_saw(store, "subject", person).steps}


@pytest.mark.parametrize("recipe", [PLAIN, SISA], ids=["plain", "sisa"])
@pytest.mark.parametrize("name", ["people", "packed", "with_visits", "halved", "centred"])
def test_no_step_is_left_out_of_a_complete_answer(
    tally: Any, made: Store, workshop: Any, name: str, recipe: Any
) -> None:
    if name == "people":
        tally.train(made, **recipe)
    else:
        trained(tally, made, name, **recipe)
    first, *others = everybody(workshop)
    before = {person: steps_of(made, person) for person in others}
    forget(made, "subject", [first])
    for person in others:
        answer = who_saw(made, "subject", person)
        assert answer.complete == (not answer.gone)
        assert before[person].keys() <= {*answer.steps, *answer.gone}
        same = {run: answer.steps.get(run) == steps for run, steps in before[person].items()}
        assert all(same[run] for run in same if run not in answer.gone)


def test_a_run_whose_rows_are_gone_is_named(tally: Any, made: Store, workshop: Any) -> None:
    trained(tally, made, "packed", **PLAIN)
    (run,) = workshop.rows_of(made, tables.Run)
    assert who_saw(made, "subject", "person-06").gone == ()
    forget(made, "subject", ["person-07"])
    answer = who_saw(made, "subject", "person-06")
    assert (answer.gone, answer.complete) == ((run.id,), False)
    assert run.id not in answer.steps
    stays = who_saw(made, "subject", "person-03")
    assert (stays.gone, stays.complete) == ((), True)
    later = next(each.run for each in answer.runs)
    assert who_saw(made, "subject", "person-06", moment=Moment(run=later)).gone == ()
    assert who_saw(made, "subject", "person-06", moment=Moment(1, run.id)).gone == (run.id,)


def test_who_was_trained_on_by_runs_that_are_gone_alone_is_not_told_the_contrary(
    tally: Any, made: Store, workshop: Any
) -> None:
    derived(made, "packed")
    tally.train(made, config={"data": "packed"}, **PLAIN)
    retire(made, "m")
    (run,) = workshop.rows_of(made, tables.Run)
    forget(made, "subject", ["person-07"])
    answer = who_saw(made, "subject", "person-06")
    assert (answer.state, answer.runs, answer.gone) == ("trained", (), (run.id,))


def test_a_batch_says_that_its_run_is_gone_and_that_it_lost_nobody_knows_how_many(
    tally: Any, made: Store, workshop: Any
) -> None:
    trained(tally, made, "packed", **PLAIN)
    (run,) = workshop.rows_of(made, tables.Run)
    whole = batch_at(made, run.id, 2)
    assert (whole.gone, whole.complete, whole.erased) == (False, True, 0)
    forget(made, "subject", ["person-07"])
    left = batch_at(made, run.id, 2)
    assert (left.gone, left.complete, left.erased) == (True, False, None)
